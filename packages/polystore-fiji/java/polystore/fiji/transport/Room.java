package polystore.fiji.transport;

/**
 * The room in the inbox for a value on its way. The inbox may give it to others while the
 * producer is silent. The value keeps its pixels, and needs room again before it continues.
 */
final class Room {
    final long nbytes;
    /** Whether the value must wait for room. If not, it always gets some. */
    final boolean isWaiting;
    /** Time of the latest piece, in System.nanoTime(). The inbox's lock guards it. */
    long touched = System.nanoTime();

    Room(Item item) {
        nbytes = item.memory();
        isWaiting = item.policy.equals("block");
    }

    void touch() {
        touched = System.nanoTime();
    }
}
