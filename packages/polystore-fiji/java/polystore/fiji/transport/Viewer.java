package polystore.fiji.transport;

/** The program that shows the values of a {@link Receiver}. */
public interface Viewer {
    /** Name of the program: "fiji". */
    String kind();

    /** Version of the program. */
    String version();

    /**
     * Check a value before its pixels are sent. Return an object for {@link Delivery#plan}.
     * Called in threads of the receiver, several at once. An accepted value may still not come, if
     * the producer dies.
     */
    Object accept(Item item) throws Refused;

    /**
     * Make the viewer's own thread take deliveries. Called in threads of the receiver, even before
     * its constructor has returned; must return at once.
     */
    void wake();
}
