package polystore.fiji;

/** How one channel is called and shown. */
final class Channel {
    final String label;
    /** RRGGBB in hexadecimal, or null. */
    final String color;
    /** The intensities shown as black and in full colour, or null. */
    final double[] window;

    Channel(Fields fields) throws Refused {
        label = fields.text("label", "");
        color = fields.textOrNull("color");
        window = fields.pair("window");
    }
}
