package polystore.fiji.transport;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The answers to one producer. The thread that reads adds answers, and sends them before it
 * waits. A second thread sends the answers of other threads, so that these never wait.
 */
final class Answers {
    // Locks: queue guards queue, held, parked, writer, isUrgent, isEnded and isClosing, and awaited of
    // deliveries. output guards the writing half of zmtp. A thread with both has taken output first.

    private static final int TOGETHER = 4;
    private static final int MOST = 10_000;

    /** An answer. Equal acknowledgements are sent as one. */
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

    private final Zmtp zmtp;
    private final SocketChannel channel;
    private final Object output = new Object();

    private final ArrayDeque<Reply> queue = new ArrayDeque<>();
    private final Set<Delivery> held = new LinkedHashSet<>();
    private long parked;
    private Thread writer;
    private boolean isUrgent;
    private boolean isEnded;
    private boolean isClosing;

    Answers(Zmtp zmtp, SocketChannel channel) {
        this.zmtp = zmtp;
        this.channel = channel;
    }

    // The thread that reads.

    void add(long number, String stage, String reason) {
        synchronized (queue) {
            queue.add(new Reply(number, stage, reason));
        }
    }

    void add(Map<String, Object> header) {
        synchronized (queue) {
            queue.add(new Reply(header, null));
        }
    }

    /** Remember a delivery that is answered later, at the latest with "closed". */
    void hold(Delivery delivery) {
        synchronized (queue) {
            held.add(delivery);
        }
    }

    /** Remember the number of the message that waits for room, or 0. */
    void park(long number) {
        synchronized (queue) {
            parked = number;
        }
    }

    void pong(byte[] context) throws IOException {
        synchronized (output) {
            zmtp.pong(context);
        }
    }

    /** Acknowledge a message, together with others: each answer wakes the producer. */
    void received(long number) throws IOException {
        int waiting;
        synchronized (queue) {
            queue.add(new Reply(number, "received", ""));
            waiting = queue.size();
        }
        if (waiting >= TOGETHER) {
            flush();
        }
    }

    void flush() throws IOException {
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

    // Other threads.

    /** Report what happened to a delivery. If no producer waits for it, report only failures. */
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
            return; // the producer is gone
        }
        if (queue.size() >= MOST) { // the producer does not read its answers
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
                    return;
                }
            }
        } catch (IOException | InterruptedException gone) {
            return; // the thread that reads notices, and ends
        } finally {
            close();
        }
    }

    /** Answer all open messages with "closed", and end. */
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

    void end() {
        synchronized (queue) {
            isEnded = true;
            queue.notifyAll();
        }
        close();
    }

    void close() {
        try {
            channel.close();
        } catch (IOException error) {
            // The peer has gone first, so nothing is left to close.
        }
    }
}
