package polystore.fiji.transport;

import java.util.Map;

/** A received message: an image, ROIs or a query. */
public final class Delivery {
    // Locks: the queue of its connection's answers guards the writing of awaited, which is volatile
    // because the viewer reads it without. All other fields are final.

    /** Null for a query. */
    public final Item item;
    /** Name of the query, or null. */
    public final String query;
    public final Map<String, Object> arguments;
    /** Pixels of an image, or null. */
    public final Pixels pixels;
    /** Payload of ROIs, or null. */
    public final byte[] bytes;
    /** The result of {@link Viewer#accept}. */
    public final Object plan;
    /** Whether the producer waits until it is settled. */
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
