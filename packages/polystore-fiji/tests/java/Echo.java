package polystore.fiji.transport;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;

/**
 * A viewer without a window. It receives all values, reports them as shown, and can print their
 * paths. It obeys the words of its standard input, which are hold, go, state and close, and ends
 * with that input.
 */
final class Echo implements Viewer {
    // Locks: the lock of the class lets one thread at a time print a line. gate is volatile: the
    // thread of the words writes it, and the thread of the values waits for it. Only the latter
    // uses shown.

    private final Semaphore arrivals = new Semaphore(0);
    private final Map<String, Delivery> shown = new HashMap<>();
    private final CountDownLatch ready = new CountDownLatch(1);
    private volatile CountDownLatch gate = new CountDownLatch(0);
    private Receiver receiver;

    /** Arguments: name, port, whether to print received values. */
    public static void main(String[] arguments) throws Exception {
        Echo echo = new Echo();
        try {
            echo.receiver = new Receiver(echo, arguments[0], Receiver.port(arguments[1]));
        } catch (Refused refused) {
            print("refused", refused.getMessage());
            return;
        }
        echo.ready.countDown();
        boolean prints = Boolean.parseBoolean(arguments[2]);
        Receiver.thread("echo", () -> echo.show(prints)).start();
        print("ready", echo.receiver.connectionFile().toString());
        BufferedReader words = new BufferedReader(new InputStreamReader(System.in));
        for (String word = words.readLine(); word != null; word = words.readLine()) {
            echo.obey(word);
        }
    }

    private void obey(String word) {
        switch (word) {
            case "hold": gate = new CountDownLatch(1); break;
            case "go": gate.countDown(); break;
            case "close": receiver.close(); print("closed", receiver.isClosed()); break;
            default: print("producers", receiver.producers(), "nbytes", receiver.inbox.nbytes());
        }
    }

    private static synchronized void print(Object... words) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < words.length; i += 2) {
            map.put((String) words[i], words[i + 1]);
        }
        System.out.println(new String(Json.write(map), StandardCharsets.UTF_8));
    }

    @Override
    public String kind() {
        return "echo";
    }

    @Override
    public String version() {
        return "1";
    }

    @Override
    public Object accept(Item item) throws Refused {
        if (item.path.startsWith("fail")) {
            throw new IllegalStateException("told to fail");
        }
        if (item.path.startsWith("refuse")) {
            throw new Refused("told to refuse " + item.path);
        }
        return "planned " + item.path;
    }

    @Override
    public void wake() {
        arrivals.release();
    }

    private void show(boolean prints) {
        try {
            ready.await();
            while (!receiver.isClosed()) {
                arrivals.acquire();
                gate.await();
                for (Delivery delivery : receiver.take()) {
                    if (delivery.item == null) {
                        answer(delivery);
                    } else {
                        show(delivery, prints);
                    }
                }
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    private void show(Delivery delivery, boolean prints) {
        Item item = delivery.item;
        Delivery old = shown.put(item.path, delivery);
        if (old != null && old.pixels != null) {
            old.pixels.release();
        }
        if (prints) {
            print("path", item.path, "shape", item.shape, "plan", delivery.plan);
        }
        if (item.path.startsWith("late")) {
            receiver.settle(delivery, "rejected", "told to fail late");
        } else {
            receiver.settle(delivery, "shown", "");
        }
    }

    private void answer(Delivery delivery) {
        Delivery found = shown.get(String.valueOf(delivery.arguments.get("path")));
        if (delivery.query.equals("same")) {
            receiver.answer(delivery, delivery.arguments, Collections.emptyList());
        } else if (delivery.query.equals("clear")) {
            shown.clear();
            receiver.answer(delivery, null, Collections.emptyList());
        } else if (!delivery.query.equals("pixels") || found == null) {
            receiver.settle(delivery, "rejected", "asked for " + delivery.query);
        } else if (found.bytes != null) {
            String text = new String(found.bytes, StandardCharsets.UTF_8);
            receiver.answer(delivery, text, Collections.emptyList());
        } else {
            ByteBuffer bytes = ByteBuffer.allocate((int) found.item.nbytes);
            bytes.order(ByteOrder.LITTLE_ENDIAN);
            List<String> types = new ArrayList<>();
            for (Object plane : found.pixels.planes) {
                put(bytes, plane);
                types.add(plane.getClass().getSimpleName());
            }
            bytes.flip();
            receiver.answer(delivery, types,
                Collections.singletonList(new Array(found.item.shape, found.item.dtype, bytes)));
        }
    }

    private static void put(ByteBuffer target, Object plane) {
        int start = target.position();
        if (plane instanceof byte[]) {
            target.put((byte[]) plane);
            return;
        } else if (plane instanceof short[]) {
            target.asShortBuffer().put((short[]) plane);
        } else if (plane instanceof int[]) {
            target.asIntBuffer().put((int[]) plane);
        } else if (plane instanceof float[]) {
            target.asFloatBuffer().put((float[]) plane);
        } else if (plane instanceof long[]) {
            target.asLongBuffer().put((long[]) plane);
        } else {
            target.asDoubleBuffer().put((double[]) plane);
        }
        int length = java.lang.reflect.Array.getLength(plane);
        target.position(start + length * Pool.size(plane.getClass().getName().charAt(1)));
    }
}
