package polystore.fiji.transport;

/** What the tests of other packages need of the transport: JSON, and a header as it is parsed. */
public final class Wire {
    private Wire() {}

    public static Object read(byte[] json) throws Refused {
        return Json.read(json);
    }

    public static byte[] write(Object value) {
        return Json.write(value);
    }

    public static Item item(Object header) throws Refused {
        return new Header(header).item;
    }
}
