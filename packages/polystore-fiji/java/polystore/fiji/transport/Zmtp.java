package polystore.fiji.transport;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Frames of ZMTP 3.1 (rfc.zeromq.org/spec/37) with the NULL mechanism, as a ROUTER to which a DEALER
 * has connected. One thread reads. The caller must let only one thread write at a time.
 */
final class Zmtp {
    // Locks: none. The thread that reads owns in, rest, more and largest. It writes reads and
    // isReading, which are volatile because the receiver's thread "look" reads them. Answers guards
    // out by its lock output, from the end of greet() on.

    static final int LARGEST = 8 << 20;
    private static final int LARGEST_BEFORE_HELLO = 1 << 16;
    private static final int LARGEST_COMMAND = 1 << 12;
    private static final int MORE = 1;
    private static final int LONG = 2;
    private static final int COMMAND = 4;
    /** Bytes that are read at once. It is larger as soon as the peer is known. */
    private static final int CHUNK = 1 << 17;
    private static final int SMALL_CHUNK = 1 << 13;

    /** Work of the owner while a message is read. */
    interface Owner {
        /** Send all queued answers, because the thread may have to wait for the next frame. */
        void beforeRead() throws IOException;

        void onPing(byte[] context) throws IOException;
    }

    private final SocketChannel channel;
    private final Owner owner;
    private ByteBuffer in = buffer(SMALL_CHUNK);
    private final ByteBuffer out = ByteBuffer.allocateDirect(4 * SMALL_CHUNK);
    private int rest;
    private boolean more;
    private int largest = LARGEST_BEFORE_HELLO;
    /** Grows with every read. */
    volatile long reads;
    volatile boolean isReading;

    Zmtp(SocketChannel channel, Owner owner) {
        this.channel = channel;
        this.owner = owner;
        in.limit(0);
    }

    /** Whether this payload frame may be followed by another of its message. */
    boolean hasMore() {
        return more;
    }

    /** Unread bytes of the frame. */
    int rest() {
        return rest;
    }

    private static ByteBuffer buffer(int size) {
        return ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Accept headers of any length from now on: the peer has shown the token. */
    void trust() {
        if (largest < LARGEST) {
            largest = LARGEST;
            ByteBuffer larger = buffer(CHUNK);
            larger.put(in);
            larger.flip();
            in = larger;
        }
    }

    // The peer: greeting and READY of both sides.

    void greet() throws IOException {
        byte[] greeting = new byte[64];
        greeting[0] = (byte) 0xff;
        greeting[9] = 0x7f;
        greeting[10] = 3;
        greeting[11] = 1;
        byte[] mechanism = "NULL".getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(mechanism, 0, greeting, 12, 4);
        out.put(greeting);
        flush();
        byte[] theirs = new byte[64];
        need(10);
        in.get(theirs, 0, 10);
        if (theirs[0] != greeting[0] || (theirs[9] & 1) == 0) {
            throw new IOException("the peer does not use ZMTP");
        }
        need(54);
        in.get(theirs, 10, 54);
        if (theirs[10] < 3
            || !Arrays.equals(Arrays.copyOfRange(theirs, 12, 32), Arrays.copyOf(mechanism, 20))) {
            throw new IOException("the peer uses another version or mechanism of ZMTP");
        }
        command("\5READY\13Socket-Type\0\0\0\6ROUTER\10Identity\0\0\0\0");
        flush();
        String ready = command(frame());
        if (!ready.startsWith("\5READY") || !ready.contains("\13Socket-Type\0\0\0\6DEALER")) {
            throw new IOException("the peer is not a DEALER");
        }
    }

    // Reading.

    private void fill() throws IOException {
        owner.beforeRead();
        in.compact();
        isReading = true;
        int count = channel.read(in);
        isReading = false;
        in.flip();
        if (count < 0) {
            throw new EOFException();
        }
        reads++;
    }

    private void need(int count) throws IOException {
        while (in.remaining() < count) {
            fill();
        }
    }

    /** Read the head of a frame, and return its flags. */
    private int frame() throws IOException {
        need(2);
        boolean isLong = (in.get(in.position()) & LONG) != 0;
        need(isLong ? 9 : 2);
        int flags = in.get();
        long length = isLong ? Long.reverseBytes(in.getLong()) : in.get() & 0xff;
        if ((flags & ~(MORE | LONG | COMMAND)) != 0 || length < 0 || length > LARGEST) {
            throw new IOException("the frame is damaged, or larger than " + LARGEST);
        }
        rest = (int) length;
        return flags;
    }

    private String command(int flags) throws IOException {
        if ((flags & COMMAND) == 0 || (flags & MORE) != 0 || rest > LARGEST_COMMAND) {
            throw new IOException("expected a command of ZMTP");
        }
        return new String(bytes(), StandardCharsets.ISO_8859_1);
    }

    /** Go to the next frame of a message. Commands may come in front of it. */
    void next() throws IOException {
        int flags = frame();
        while ((flags & COMMAND) != 0) {
            String command = command(flags);
            if (command.startsWith("\4PING") && command.length() >= 7) {
                owner.onPing(command.substring(7).getBytes(StandardCharsets.ISO_8859_1));
            } else if (command.startsWith("\5ERROR")) {
                throw new IOException("the peer reports an error");
            }
            flags = frame();
        }
        more = (flags & MORE) != 0;
    }

    /** Return the whole frame. */
    byte[] bytes() throws IOException {
        if (rest > largest) {
            throw new IOException("the frame is larger than " + largest);
        }
        byte[] found = new byte[rest];
        while (rest > 0) {
            if (!in.hasRemaining()) {
                fill();
            }
            int count = Math.min(rest, in.remaining());
            in.get(found, found.length - rest, count);
            rest -= count;
        }
        return found;
    }

    /** Copy the frame into the rest of the pixels. */
    void read(Pixels pixels) throws IOException {
        while (rest > 0) {
            if (in.remaining() < Math.min(rest, pixels.itemSize())) {
                fill();
            }
            int start = in.position();
            int end = in.limit();
            int count = Math.min(rest, end - start);
            in.limit(start + count - count % pixels.itemSize());
            try {
                pixels.put(in);
            } finally {
                rest -= in.position() - start;
                in.limit(end);
            }
        }
    }

    /** Go to the end of the message, without storing the skipped bytes. */
    void skipMessage() throws IOException {
        while (rest > 0 || more) {
            if (rest == 0) {
                next();
            } else if (in.hasRemaining()) {
                int count = Math.min(rest, in.remaining());
                in.position(in.position() + count);
                rest -= count;
            } else {
                fill();
            }
        }
    }

    // Writing.

    void write(ByteBuffer body, boolean hasMore) throws IOException {
        head(hasMore ? MORE : 0, body.remaining());
        while (body.hasRemaining()) {
            if (!out.hasRemaining()) {
                flush();
            }
            ByteBuffer part = body.duplicate();
            part.limit(part.position() + Math.min(out.remaining(), part.remaining()));
            body.position(part.limit());
            out.put(part);
        }
    }

    private void command(String body) throws IOException {
        head(COMMAND, body.length());
        out.put(body.getBytes(StandardCharsets.ISO_8859_1));
    }

    void pong(byte[] context) throws IOException {
        command("\4PONG" + new String(context, StandardCharsets.ISO_8859_1));
        flush();
    }

    private void head(int flags, int length) throws IOException {
        if (out.remaining() < LARGEST_COMMAND + 9) {
            flush();
        }
        if (length > 255) {
            out.put((byte) (flags | LONG)).putLong(length);
        } else {
            out.put((byte) flags).put((byte) length);
        }
    }

    void flush() throws IOException {
        out.flip();
        try {
            while (out.hasRemaining()) {
                channel.write(out);
            }
        } finally {
            out.clear(); // also after an error, after which nothing more is written
        }
    }
}
