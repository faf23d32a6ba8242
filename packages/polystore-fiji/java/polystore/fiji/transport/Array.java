package polystore.fiji.transport;

import java.nio.ByteBuffer;

/** An array of an answer, in C order, little-endian, with NumPy's name of the element type. */
public final class Array {
    final int[] shape;
    final String dtype;
    final ByteBuffer bytes;

    public Array(int[] shape, String dtype, ByteBuffer bytes) {
        this.shape = shape;
        this.dtype = dtype;
        this.bytes = bytes;
    }
}
