package polystore.fiji.transport;

/** What shows the values that a {@link Receiver} takes in. */
public interface Viewer {
    /** Name of the program: "fiji". */
    String kind();

    /** Of the program. */
    String version();

    /**
     * Return what the viewer wants to find in {@link Delivery#plan}, before the pixels travel.
     * Called in threads of the receiver, several at once. What is accepted may still not come, if
     * the producer dies.
     */
    Object accept(Item item) throws Refused;

    /**
     * Have the viewer's own thread take what came. Called in threads of the receiver, even before
     * its constructor has returned; must return at once.
     */
    void wake();
}
