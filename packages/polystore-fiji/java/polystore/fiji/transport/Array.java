package polystore.fiji.transport;

import java.nio.ByteBuffer;

/** An array of an answer: C order, little-endian, of an element type as NumPy writes it. */
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
