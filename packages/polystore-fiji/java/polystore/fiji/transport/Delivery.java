package polystore.fiji.transport;

import java.util.Map;

/** One thing that came: an image or ROIs with their place, or a question. */
public final class Delivery {
    // Locks: the queue of its connection's answers guards the writing of awaited, which is volatile
    // because the viewer reads it without. All other fields are final.

    /** Null for a query. */
    public final Item item;
    /** Name of the query, or null. */
    public final String query;
    public final Map<String, Object> arguments;
    /** Of an image, else null. */
    public final Pixels pixels;
    /** Of ROIs, else null. */
    public final byte[] bytes;
    /** What {@link Viewer#accept} gave for it. */
    public final Object plan;
    /** Whether the producer still waits for a word about it. */
    public volatile boolean awaited;

    final Connection connection;
    final long number;

    Delivery(Connection connection, long number, Item item, Pixels pixels, Object plan) {
        this.connection = connection;
        this.number = number;
        this.item = item;
        this.pixels = item.isImage ? pixels : null;
        this.bytes = item.isImage ? null : (byte[]) pixels.planes[0];
        this.plan = plan;
        query = null;
        arguments = null;
        awaited = item.wait.equals("shown");
    }

    Delivery(Connection connection, long number, String query, Map<String, Object> arguments) {
        this.connection = connection;
        this.number = number;
        this.query = query;
        this.arguments = arguments;
        item = null;
        pixels = null;
        bytes = null;
        plan = null;
        awaited = true;
    }

    /** Bytes that it takes in the queue. */
    long nbytes() {
        return item == null ? 0 : item.memory();
    }
}
