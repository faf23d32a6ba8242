package polystore.fiji;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One producer: a thread that reads what it sends, copies pixels out, and acknowledges. Answers of
 * other threads are queued, and sent by a second thread: nobody else ever waits for a producer.
 */
final class Connection implements Runnable, Zmtp.Owner {
    private static final int TOGETHER = 4;
    private static final int MOST_ANSWERS = 10_000;
    private static final long BEAT = 250;

    /** A value of which more pieces are to come. */
    private static final class Partial {
        final Item item;
        final Object plan;
        final Pixels pixels;
        long filled;

        Partial(Item item, Object plan, Pixels pixels) {
            this.item = item;
            this.plan = plan;
            this.pixels = pixels;
        }
    }

    /** An answer; acknowledgements that say the same are sent as one. */
    private static final class Reply {
        final long number;
        final String stage;
        final String reason;
        final Map<String, Object> header;
        final List<Array> arrays;

        Reply(long number, String stage, String reason) {
            this.number = number;
            this.stage = stage;
            this.reason = reason == null ? "" : reason;
            header = null;
            arrays = null;
        }

        Reply(Map<String, Object> header, List<Array> arrays) {
            number = 0;
            stage = null;
            reason = null;
            this.header = header;
            this.arrays = arrays;
        }

        boolean isLike(Reply other) {
            return stage != null && stage.equals(other.stage) && reason.equals(other.reason)
                && number != 0 && other.number != 0;
        }
    }

    final SocketChannel channel;
    final long since = System.nanoTime();
    private final Receiver receiver;
    private final Zmtp zmtp;
    private final Object output = new Object();
    private final Map<Long, Partial> partials = new HashMap<>();
    private boolean isGreeted;
    private Ring ring;
    private volatile boolean wasGreeted;
    private volatile long pid;
    private volatile String started = "";
    private long lookedReads;

    // All below belong to whoever holds the lock of queue.
    private final ArrayDeque<Reply> queue = new ArrayDeque<>();
    private final Set<Delivery> held = new LinkedHashSet<>();
    private long parked;
    private Thread writer;
    private boolean isUrgent;
    private boolean isEnded;
    private boolean isClosing;

    Connection(Receiver receiver, SocketChannel channel) {
        this.receiver = receiver;
        this.channel = channel;
        zmtp = new Zmtp(channel, this);
    }

    // The thread that reads.

    @Override
    public void run() {
        try {
            zmtp.greet();
            while (true) {
                zmtp.next();
                onMessage(zmtp.bytes());
                zmtp.skipMessage();
            }
        } catch (IOException | InterruptedException gone) {
            // The usual end: it said bye, or was killed, or sent what is no ZMTP.
        } finally {
            forget();
            synchronized (queue) {
                isEnded = true;
                queue.notifyAll();
            }
            close();
            receiver.ended(this);
        }
    }

    void close() {
        try {
            channel.close();
        } catch (IOException error) {
            // It is as good as closed: the peer has gone first.
        }
    }

    @Override
    public void beforeRead() throws IOException {
        flush();
    }

    @Override
    public void onPing(byte[] context) throws IOException {
        synchronized (output) {
            zmtp.pong(context);
        }
    }

    private void onMessage(byte[] frame) throws IOException, InterruptedException {
        Header header;
        try {
            header = new Header(Json.read(frame));
        } catch (Refused refused) { // whoever sends this speaks something else
            forget();
            reply(new Reply(0, "rejected", refused.getMessage()));
            return;
        }
        String reason;
        try {
            if (header.type.equals("hello")) {
                greet(header);
            } else if (isGreeted) {
                handle(header);
            } else {
                throw new Refused("say hello first");
            }
            return;
        } catch (Refused refused) {
            reason = refused.getMessage();
        } catch (OutOfMemoryError error) {
            reason = Pool.noMemory(header.item == null ? header.nbytes : header.item.nbytes);
        } catch (RuntimeException | Error error) { // a fault of the viewer's must not end it all
            error.printStackTrace();
            reason = "the receiver failed: " + error;
        }
        reply(new Reply(header.number, "rejected", reason));
    }

    private void greet(Header hello) throws Refused {
        forget();
        if (hello.protocol[0] != 1) {
            throw new Refused("protocol " + hello.protocol[0] + "." + hello.protocol[1]
                + ", where 1.0 is spoken here");
        }
        if (!receiver.announcement.hasToken(hello.token)) {
            throw new Refused("the token is wrong: read its connection file");
        }
        zmtp.trust();
        isGreeted = wasGreeted = true;
        pid = hello.pid;
        started = hello.host.equals(receiver.announcement.host)
            ? Announcement.processStart(pid) : "";
        Map<String, Object> welcome = new LinkedHashMap<>();
        welcome.put("type", "welcome");
        welcome.put("protocol", new int[] {1, 0});
        welcome.put("kind", receiver.announcement.kind);
        welcome.put("name", receiver.announcement.name);
        welcome.put("version", receiver.viewer.version());
        welcome.put("pid", receiver.announcement.pid);
        welcome.put("number", hello.number);
        reply(new Reply(welcome, null));
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
                push(new Delivery(this, header.number, header.name, header.arguments));
                break;
            case "ring":
                releaseRing();
                ring = new Ring(header.path, header.size, header.nonce);
                received(header.number);
                break;
            default:
                forget();
        }
    }

    private void begin(Item item) throws IOException, InterruptedException, Refused {
        if (partials.containsKey(item.number)) {
            throw new Refused("a second message " + item.number);
        }
        reserve(item);
        Partial partial = null;
        boolean isTaken = false;
        try {
            Object plan = receiver.viewer.accept(item);
            partial = new Partial(item, plan, new Pixels(item, receiver.pool()));
            fill(partial, item.slot, Math.min(item.nbytes, Ring.SLOT));
            isTaken = true;
        } finally {
            if (!isTaken) {
                release(item, partial);
            }
        }
        partials.put(item.number, partial);
        advance(partial, item.number);
    }

    private void goOn(Header piece) throws IOException, Refused {
        Partial partial = partials.get(piece.of);
        if (partial == null) {
            throw new Refused("a piece of message " + piece.of + ", which is none");
        }
        boolean isTaken = false;
        try {
            long missing = partial.item.nbytes - partial.filled;
            if (piece.start != partial.filled || piece.nbytes < 1 || piece.nbytes > missing
                || piece.nbytes % partial.item.itemSize() != 0) {
                throw new Refused(piece.nbytes + " bytes at " + piece.start + ", where those from "
                    + partial.filled + " to " + partial.item.nbytes + " are awaited");
            }
            fill(partial, piece.slot, piece.nbytes);
            isTaken = true;
        } finally {
            if (!isTaken) { // nothing waits for the rest any more
                partials.remove(piece.of);
                release(partial.item, partial);
            }
        }
        advance(partial, piece.number);
    }

    private void release(Item item, Partial partial) {
        receiver.inbox.release(item.nbytes);
        if (partial != null) {
            partial.pixels.release();
        }
    }

    /** Copy out of the ring, or of the frame. */
    private void fill(Partial partial, int slot, long nbytes) throws IOException, Refused {
        if (slot >= 0) {
            if (ring == null) {
                throw new Refused("a slot of a ring that was not shown");
            }
            partial.pixels.put(ring.slot(slot, nbytes));
        } else {
            boolean isThere = zmtp.hasMore();
            if (isThere) {
                zmtp.next();
            }
            if (!isThere || zmtp.hasMore() || zmtp.rest() != nbytes) {
                throw new Refused("no frame of " + nbytes + " bytes");
            }
            zmtp.read(partial.pixels);
        }
        partial.filled += nbytes;
    }

    private void advance(Partial partial, long number) throws IOException {
        Item item = partial.item;
        if (partial.filled == item.nbytes) {
            partials.remove(item.number);
            push(new Delivery(this, number, item, partial.pixels, partial.plan));
            if (item.wait.equals("shown")) {
                return;
            }
        }
        // Only now: whoever is answered before could ask, elsewhere, for what is not there yet.
        received(number);
    }

    private void push(Delivery delivery) {
        synchronized (queue) {
            if (delivery.awaited) {
                held.add(delivery);
            }
        }
        for (Map.Entry<Delivery, String> old : receiver.inbox.push(delivery).entrySet()) {
            receiver.settle(old.getKey(), old.getValue(), "");
            if (old.getKey().pixels != null) {
                old.getKey().pixels.release();
            }
        }
        receiver.viewer.wake();
    }

    /** Take room; wait for it if the policy says so, and let the producer know that it lives. */
    private void reserve(Item item) throws IOException, InterruptedException {
        if (!item.policy.equals("block")) {
            receiver.inbox.reserve(item.nbytes);
            return;
        }
        if (receiver.inbox.reserve(item.nbytes, 0)) {
            return;
        }
        synchronized (queue) {
            parked = item.number;
        }
        boolean isThere = true;
        while (!receiver.inbox.reserve(item.nbytes, isThere ? BEAT : 60_000)) {
            if (receiver.isClosed()) {
                throw new IOException("closed");
            }
            try {
                flush();
                synchronized (output) {
                    zmtp.ping();
                }
            } catch (IOException gone) {
                isThere = false; // what had come whole is still taken
            }
        }
        synchronized (queue) {
            parked = 0;
        }
    }

    /** Let go of all that the producer began. */
    private void forget() {
        isGreeted = false;
        for (Partial partial : partials.values()) {
            release(partial.item, partial);
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

    // Answers of the thread that reads: sent before it waits.

    /** Acknowledge, together with what else has come: an answer costs a wake-up. */
    private void received(long number) throws IOException {
        int waiting;
        synchronized (queue) {
            queue.add(new Reply(number, "received", ""));
            waiting = queue.size();
        }
        if (waiting >= TOGETHER) {
            flush();
        }
    }

    private void reply(Reply reply) {
        synchronized (queue) {
            queue.add(reply);
        }
    }

    private void flush() throws IOException {
        synchronized (output) {
            while (true) {
                List<Reply> replies;
                synchronized (queue) {
                    if (queue.isEmpty()) {
                        return;
                    }
                    replies = new ArrayList<>(queue);
                    queue.clear();
                }
                for (int i = 0; i < replies.size();) {
                    i = write(replies, i);
                }
                zmtp.flush();
            }
        }
    }

    private int write(List<Reply> replies, int first) throws IOException {
        Reply reply = replies.get(first);
        int end = first + 1;
        Map<String, Object> header = reply.header;
        if (header == null) {
            List<Long> others = new ArrayList<>();
            for (; end < replies.size() && reply.isLike(replies.get(end)); end++) {
                others.add(replies.get(end).number);
            }
            header = new LinkedHashMap<>();
            header.put("type", "ack");
            header.put("stage", reply.stage);
            if (!reply.reason.isEmpty()) {
                header.put("reason", reply.reason);
            }
            if (!others.isEmpty()) {
                header.put("others", others);
            }
            header.put("number", reply.number);
        }
        int frames = reply.arrays == null ? 0 : reply.arrays.size();
        zmtp.write(ByteBuffer.wrap(Json.write(header)), frames > 0);
        for (int i = 0; i < frames; i++) {
            zmtp.write(reply.arrays.get(i).bytes.duplicate(), i + 1 < frames);
        }
        return end;
    }

    // Answers of other threads.

    /** Say what became of a delivery: of one that nobody waits for, only what he must know. */
    void settle(Delivery delivery, String stage, String reason) {
        synchronized (queue) {
            boolean wasHeld = held.remove(delivery);
            delivery.awaited = false;
            if (wasHeld || stage.equals("coalesced") || stage.equals("dropped")) {
                post(new Reply(delivery.number, stage, reason));
            } else if (stage.equals("rejected") && delivery.item != null) {
                Map<String, Object> failure = new LinkedHashMap<>();
                failure.put("type", "failure");
                failure.put("path", delivery.item.path);
                failure.put("reason", reason);
                post(new Reply(failure, null));
            }
        }
    }

    void answer(Delivery delivery, Object value, List<Array> arrays) {
        List<Object> kinds = new ArrayList<>();
        for (Array array : arrays) {
            kinds.add(new Object[] {array.shape, array.dtype});
        }
        Map<String, Object> header = new LinkedHashMap<>();
        header.put("type", "answer");
        header.put("value", value);
        header.put("arrays", kinds);
        header.put("number", delivery.number);
        synchronized (queue) {
            delivery.awaited = false;
            if (held.remove(delivery)) {
                post(new Reply(header, arrays));
            }
        }
    }

    private void post(Reply reply) {
        if (isEnded) {
            return; // nobody is there to hear it
        }
        if (queue.size() >= MOST_ANSWERS) { // it reads no answers
            close();
            return;
        }
        queue.add(reply);
        isUrgent = true;
        wakeWriter();
    }

    private void wakeWriter() {
        if (writer == null) {
            writer = Receiver.thread("polystore-answers", this::writeAnswers);
            writer.start();
        }
        queue.notifyAll();
    }

    private void writeAnswers() {
        try {
            while (true) {
                boolean isLast;
                synchronized (queue) {
                    while (!isUrgent && !isEnded && !isClosing) {
                        queue.wait();
                    }
                    if (isEnded) {
                        return;
                    }
                    isUrgent = false;
                    isLast = isClosing;
                }
                flush();
                if (isLast) {
                    channel.shutdownOutput();
                    close();
                    return;
                }
            }
        } catch (IOException | InterruptedException gone) {
            close(); // the thread that reads notices, and ends
        }
    }

    /** Answer all that is unanswered with "closed", and end. */
    void finish() {
        synchronized (queue) {
            List<Long> numbers = new ArrayList<>();
            for (Delivery delivery : held) {
                numbers.add(delivery.number);
            }
            if (parked != 0) {
                numbers.add(parked);
            }
            held.clear();
            for (Long number : numbers) {
                queue.add(new Reply(number, "closed", "was closed"));
            }
            isClosing = true;
            wakeWriter();
        }
    }

    /** End what never says hello, and what was killed while a child of it holds the connection. */
    void look(long now) {
        if (!wasGreeted) {
            if (now - since > Receiver.GREETING) {
                close();
            }
        } else if (!started.isEmpty() && !Announcement.processRuns(pid, started)) {
            // What had come whole is still read: only who waits in vain is ended.
            if (zmtp.isReading && zmtp.reads == lookedReads) {
                close();
            }
        }
        lookedReads = zmtp.reads;
    }
}
