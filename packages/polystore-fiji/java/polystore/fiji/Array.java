package polystore.fiji;

import java.nio.ByteBuffer;

/** An array of an answer: C order, little-endian, of an element type as NumPy writes it. */
final class Array {
    final int[] shape;
    final String dtype;
    final ByteBuffer bytes;

    Array(int[] shape, String dtype, ByteBuffer bytes) {
        this.shape = shape;
        this.dtype = dtype;
        this.bytes = bytes;
    }
}
