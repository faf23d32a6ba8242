package polystore.fiji.transport;

/**
 * The room in the inbox of a value that is on its way. The inbox may give it to others while the
 * producer is silent: the value keeps its pixels, and takes the room again before it goes on.
 */
final class Room {
    final long nbytes;
    /** Whether the value waits for room, else it always has some. */
    final boolean isWaiting;
    /** When something of the value came, of System.nanoTime(). The inbox's lock guards it. */
    long touched = System.nanoTime();

    Room(Item item) {
        nbytes = item.memory();
        isWaiting = item.policy.equals("block");
    }

    void touch() {
        touched = System.nanoTime();
    }
}
