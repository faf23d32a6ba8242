package polystore.fiji.transport;

import java.nio.ByteBuffer;

/**
 * A payload in arrays of Java: a plane for each place on the leading axes, in C order, made and
 * filled piece by piece. A plane has the last two axes, or three for RGB(A). ROIs are one of bytes.
 *
 * <p>Signed or not, elements of 1, 2, 4, 8 bytes are {@code byte[]}, {@code short[]} (float16
 * too), {@code int[]}, {@code long[]}; floats are {@code float[]} and {@code double[]}.
 */
public final class Pixels {
    private static final int LARGEST_ARRAY = Integer.MAX_VALUE - 8;

    public final Object[] planes;
    private final Pool pool;
    private final char type;
    private final int size;
    private final int length;
    private int plane;
    private int offset;

    Pixels(Item item, Pool pool) throws Refused {
        this.pool = pool;
        size = item.itemSize();
        type = type(item);
        long elements = item.nbytes / size / item.planes;
        if (elements > LARGEST_ARRAY || item.planes > LARGEST_ARRAY) {
            throw new Refused(item.planes + " planes have " + elements
                + " elements each, but an array of Java has at most " + LARGEST_ARRAY);
        }
        pool.check(Math.min(item.nbytes, Long.MAX_VALUE / 2) + item.overhead());
        length = (int) elements;
        planes = new Object[(int) item.planes];
    }

    private static char type(Item item) {
        boolean isFloat = item.dtype.startsWith("<f");
        switch (item.itemSize()) {
            case 1: return 'B';
            case 2: return 'S';
            case 4: return isFloat ? 'F' : 'I';
            default: return isFloat ? 'D' : 'J';
        }
    }

    int itemSize() {
        return size;
    }

    /** Copy the rest of a little-endian source: whole elements, at most those that are missing. */
    void put(ByteBuffer source) {
        while (source.hasRemaining()) {
            if (planes[plane] == null) {
                planes[plane] = pool.take(type, length);
            }
            int count = Math.min(length - offset, source.remaining() / size);
            copy(source, planes[plane], offset, count);
            source.position(source.position() + count * size);
            offset += count;
            if (offset == length) {
                offset = 0;
                plane++;
            }
        }
    }

    private void copy(ByteBuffer source, Object target, int start, int count) {
        switch (type) {
            case 'B': source.duplicate().get((byte[]) target, start, count); break;
            case 'S': source.asShortBuffer().get((short[]) target, start, count); break;
            case 'I': source.asIntBuffer().get((int[]) target, start, count); break;
            case 'F': source.asFloatBuffer().get((float[]) target, start, count); break;
            case 'J': source.asLongBuffer().get((long[]) target, start, count); break;
            default: source.asDoubleBuffer().get((double[]) target, start, count);
        }
    }

    /** Return the arrays to the pool. They must not be used afterwards. */
    public void release() {
        for (int i = 0; i < planes.length; i++) {
            if (planes[i] != null) {
                pool.give(planes[i]);
                planes[i] = null;
            }
        }
    }
}
