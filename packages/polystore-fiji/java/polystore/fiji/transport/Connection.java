package polystore.fiji.transport;

import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/** One producer: a thread that reads what it sends, copies pixels out, and acknowledges. */
final class Connection implements Runnable, Zmtp.Owner {
    // Locks: none. The thread that reads owns partials, isGreeted and ring. It writes wasGreeted, pid
    // and started, which are volatile because the receiver's thread "look" reads them. That thread
    // owns lookedReads.

    /** A value whose remaining pieces are still to come. */
    private static final class Partial {
        final Item item;
        final Room room;
        final Object plan;
        final Pixels pixels;
        long filled;

        Partial(Item item, Room room, Object plan, Pixels pixels) {
            this.item = item;
            this.room = room;
            this.plan = plan;
            this.pixels = pixels;
        }
    }

    final SocketChannel channel;
    final long since = System.nanoTime();
    private final Receiver receiver;
    private final Zmtp zmtp;
    private final Answers answers;
    private final Map<Long, Partial> partials = new HashMap<>();
    private boolean isGreeted;
    private Ring ring;
    private volatile boolean wasGreeted;
    private volatile long pid;
    private volatile String started = "";
    private long lookedReads;

    Connection(Receiver receiver, SocketChannel channel) {
        this.receiver = receiver;
        this.channel = channel;
        zmtp = new Zmtp(channel, this);
        answers = new Answers(zmtp, channel);
    }

    // The thread that reads.

    @Override
    public void run() {
        try {
            zmtp.greet();
            while (true) {
                zmtp.next();
                // After a header with a slot, the next frame is another header, not a payload.
                while (onMessage(zmtp.bytes()) && zmtp.hasMore()) {
                    zmtp.next();
                }
                zmtp.skipMessage();
            }
        } catch (IOException | InterruptedException gone) {
            // The usual end: it said bye, was killed, or does not use ZMTP.
        } finally {
            forget();
            answers.end();
            receiver.ended(this);
        }
    }

    @Override
    public void beforeRead() throws IOException {
        answers.flush();
    }

    @Override
    public void onPing(byte[] context) throws IOException {
        answers.pong(context);
    }

    /** Answer a message. Return whether its payload is in a slot. */
    private boolean onMessage(byte[] frame) throws IOException, InterruptedException {
        Header header;
        try {
            header = new Header(Json.read(frame));
        } catch (Refused refused) { // the sender does not speak this protocol
            forget();
            answers.add(0, "rejected", refused.getMessage());
            return false;
        }
        String reason;
        try {
            if (header.type.equals("hello")) {
                greet(header);
            } else if (isGreeted) {
                handle(header);
            } else {
                throw new Refused("the first message must be hello");
            }
            return header.hasSlot();
        } catch (Refused refused) {
            reason = refused.getMessage();
        } catch (OutOfMemoryError error) {
            reason = Pool.noMemory(header.item == null ? header.nbytes : header.item.nbytes);
        } catch (RuntimeException | Error error) { // a bug of the viewer must not end it
            receiver.log().report(error);
            reason = "the receiver failed: " + error;
        }
        answers.add(header.number, "rejected", reason);
        return header.hasSlot();
    }

    private void greet(Header hello) throws Refused {
        forget();
        if (hello.protocol[0] != 1) {
            throw new Refused("protocol " + hello.protocol[0] + "." + hello.protocol[1]
                + " is not supported: this receiver uses 1.1; upgrade polystore where the "
                + (hello.protocol[0] > 1 ? "receiver" : "producer") + " runs");
        }
        if (!receiver.announcement.hasToken(hello.token)) {
            throw new Refused("the token is wrong: read the receiver's connection file again");
        }
        zmtp.trust();
        isGreeted = wasGreeted = true;
        pid = hello.pid;
        started = hello.host.equals(receiver.announcement.host)
            ? Announcement.processStart(pid) : "";
        Map<String, Object> welcome = new LinkedHashMap<>();
        welcome.put("type", "welcome");
        welcome.put("protocol", new int[] {1, 1});
        welcome.put("kind", receiver.announcement.kind);
        welcome.put("name", receiver.announcement.name);
        welcome.put("version", receiver.viewer.version());
        welcome.put("pid", receiver.announcement.pid);
        welcome.put("number", hello.number);
        answers.add(welcome);
    }

    private void handle(Header header) throws IOException, InterruptedException, Refused {
        switch (header.type) {
            case "image":
            case "rois":
                begin(header.item);
                break;
            case "piece":
                goOn(header);
                break;
            case "query":
                push(new Delivery(this, header.number, header.name, header.arguments), null);
                break;
            case "ring":
                releaseRing();
                ring = new Ring(header.path, header.size, header.nonce);
                answers.received(header.number);
                break;
            default:
                forget();
        }
    }

    private void begin(Item item) throws IOException, InterruptedException, Refused {
        if (partials.containsKey(item.number)) {
            throw new Refused("message number " + item.number
                + " is already in use: use each number once");
        }
        Room room = new Room(item);
        takeRoom(room, item.number);
        Partial partial = null;
        boolean isTaken = false;
        try {
            Object plan = receiver.viewer.accept(item);
            partial = new Partial(item, room, plan, new Pixels(item, receiver.pool()));
            fill(partial, item.slot, Math.min(item.nbytes, Ring.SLOT));
            isTaken = true;
        } finally {
            if (!isTaken) {
                release(room, partial);
            }
        }
        partials.put(item.number, partial);
        advance(partial, item.number);
    }

    private void goOn(Header piece) throws IOException, InterruptedException, Refused {
        Partial partial = partials.get(piece.of);
        if (partial == null) {
            throw new Refused("a piece names message " + piece.of
                + ", which has no value on its way");
        }
        boolean isTaken = false;
        try {
            long missing = partial.item.nbytes - partial.filled;
            if (piece.start != partial.filled || piece.nbytes < 1 || piece.nbytes > missing
                || piece.nbytes % partial.item.itemSize() != 0) {
                throw new Refused("the piece has " + piece.nbytes + " bytes at " + piece.start
                    + "; expected bytes from " + partial.filled + " to at most "
                    + partial.item.nbytes);
            }
            fill(partial, piece.slot, piece.nbytes);
            isTaken = true;
        } finally {
            if (!isTaken) { // the rest of the value is useless now
                partials.remove(piece.of);
                release(partial.room, partial);
            }
        }
        advance(partial, piece.number);
    }

    private void release(Room room, Partial partial) {
        receiver.inbox.release(room);
        if (partial != null) {
            partial.pixels.release();
        }
    }

    /** Copy pixels out of the ring, or out of the frame. */
    private void fill(Partial partial, int slot, long nbytes) throws IOException, Refused {
        if (slot >= 0) {
            if (ring == null) {
                throw new Refused("the message names a slot, but this connection does not have a ring: "
                    + "send a ring message first");
            }
            partial.pixels.put(ring.slot(slot, nbytes));
        } else {
            boolean isThere = zmtp.hasMore();
            if (isThere) {
                zmtp.next();
            }
            if (!isThere || zmtp.hasMore() || zmtp.rest() != nbytes) {
                throw new Refused("expected one frame of " + nbytes + " bytes");
            }
            zmtp.read(partial.pixels);
        }
        partial.filled += nbytes;
    }

    private void advance(Partial partial, long number) throws IOException, InterruptedException {
        Item item = partial.item;
        takeRoom(partial.room, number); // it may have lost its room while it was stopped
        if (partial.filled == item.nbytes) {
            partials.remove(item.number);
            push(new Delivery(this, number, item, partial.pixels, partial.plan), partial.room);
            if (item.wait.equals("shown")) {
                return;
            }
        }
        // Answer after the push: the producer may ask for the value at once, on any connection.
        answers.received(number);
    }

    private void push(Delivery delivery, Room room) {
        if (delivery.awaited) {
            answers.hold(delivery);
        }
        for (Map.Entry<Delivery, String> old : receiver.inbox.push(delivery, room).entrySet()) {
            receiver.settle(old.getKey(), old.getValue(), "");
            if (old.getKey().pixels != null) {
                old.getKey().pixels.release();
            }
        }
        receiver.viewer.wake();
    }

    /** Wait for room before the message is answered, if its policy is "block". */
    private void takeRoom(Room room, long number) throws IOException, InterruptedException {
        if (receiver.inbox.reserve(room)) {
            return;
        }
        answers.park(number);
        try {
            answers.flush();
        } catch (IOException gone) {
            // Complete values are still taken.
        }
        if (!receiver.inbox.await(room)) {
            throw new IOException("closed");
        }
        answers.park(0);
    }

    /** Forget everything that the producer has begun. */
    private void forget() {
        isGreeted = false;
        for (Partial partial : partials.values()) {
            release(partial.room, partial);
        }
        partials.clear();
        releaseRing();
    }

    private void releaseRing() {
        if (ring != null) {
            ring.close();
            ring = null;
        }
    }

    /** Whether the producer has not said hello. */
    boolean isStranger() {
        return !wasGreeted;
    }

    /** End the connection of a killed producer, which one of its children may keep open. */
    void look() {
        if (!started.isEmpty() && !Announcement.processRuns(pid, started)) {
            // Read complete values first. End it only if the reading thread waits in vain.
            if (zmtp.isReading && zmtp.reads == lookedReads) {
                answers.close();
            }
        }
        lookedReads = zmtp.reads;
    }

    // Other threads.

    Answers answers() {
        return answers;
    }
}
