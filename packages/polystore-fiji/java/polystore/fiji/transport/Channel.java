package polystore.fiji.transport;

/** How one channel is called and shown. */
public final class Channel {
    public final String label;
    /** RRGGBB in hexadecimal, or null. */
    public final String color;
    /** The intensities shown as black and in full colour, or null. */
    public final double[] window;

    Channel(Fields fields) throws Refused {
        label = fields.text("label", "");
        color = fields.textOrNull("color");
        window = fields.pair("window");
    }
}
