package polystore.fiji.transport;

/** The name and the look of one channel. */
public final class Channel {
    public final String name;
    /** RRGGBB in hexadecimal, or null. */
    public final String color;
    /** The intensities that are shown as black and in full colour, or null. */
    public final double[] limits;

    Channel(Fields fields) throws Refused {
        name = fields.text("name", "");
        color = fields.textOrNull("color");
        limits = fields.pair("limits");
    }
}
