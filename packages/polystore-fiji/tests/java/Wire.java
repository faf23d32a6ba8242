package polystore.fiji.transport;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Opens the transport to the tests of other packages: JSON, headers and pixels. */
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

    public static Object[] planes(Item item, byte[] payload, Pool pool) throws Refused {
        Pixels pixels = new Pixels(item, pool);
        pixels.put(ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN));
        return pixels.planes;
    }
}
