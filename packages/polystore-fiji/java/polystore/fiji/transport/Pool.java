package polystore.fiji.transport;

import java.lang.reflect.Array;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;

/** Reuse arrays, because a new array costs several times the copy into it. */
public final class Pool {
    // Locks: the lock of this object guards idle, idleBytes, live, accepted and nextCollection.

    private static final int SMALL = 1 << 14;

    private final Map<Long, ArrayDeque<Object>> idle = new HashMap<>();
    /** The limit of the inbox, because values that are taken together return together. */
    private final long most = Math.min(Receiver.LIMIT, Runtime.getRuntime().maxMemory() / 8);
    private long idleBytes;
    private long live;
    private long accepted;
    private long nextCollection = System.nanoTime();

    /** Return an array with any content. Types are those of the JVM: B S I J F D. */
    public Object take(char type, int length) {
        if (length >= SMALL) {
            synchronized (this) {
                ArrayDeque<Object> arrays = idle.get(key(type, length));
                Object found = arrays == null ? null : arrays.pollLast();
                if (found != null) {
                    idleBytes -= nbytes(type, length);
                    return found;
                }
            }
        }
        switch (type) {
            case 'B': return new byte[length];
            case 'S': return new short[length];
            case 'I': return new int[length];
            case 'J': return new long[length];
            case 'F': return new float[length];
            case 'D': return new double[length];
            default: throw new IllegalArgumentException("no type of arrays: " + type);
        }
    }

    /** Keep an unused array for later. */
    public synchronized void give(Object array) {
        int length = Array.getLength(array);
        char type = array.getClass().getName().charAt(1);
        long nbytes = nbytes(type, length);
        if (length < SMALL || nbytes > most) {
            return;
        }
        ArrayDeque<Object> arrays = idle.get(key(type, length));
        if (idleBytes + nbytes > most && (arrays == null || arrays.isEmpty())) {
            clear(); // these sizes may never come again
            arrays = null;
        }
        if (idleBytes + nbytes <= most) {
            if (arrays == null) {
                arrays = new ArrayDeque<>();
                idle.put(key(type, length), arrays);
            }
            arrays.addLast(array);
            idleBytes += nbytes;
        }
    }

    /**
     * Refuse a value for which ImageJ has no memory. Used memory may be garbage, and only a
     * collection tells. It is run for at most a tenth of the time, or after much has come.
     */
    synchronized void check(long nbytes) throws Refused {
        Runtime java = Runtime.getRuntime();
        long limit = java.maxMemory() - java.maxMemory() / 16;
        if (java.totalMemory() - java.freeMemory() + nbytes > limit
            && live + accepted + nbytes > limit) {
            clear();
            long start = System.nanoTime();
            if (accepted > limit / 8 || start - nextCollection > 0) {
                System.gc();
                live = java.totalMemory() - java.freeMemory();
                accepted = 0;
                long end = System.nanoTime();
                nextCollection = end + 10 * (end - start);
            }
            if (live + accepted + nbytes > limit) {
                throw new Refused(noMemory(nbytes));
            }
        }
        accepted += nbytes;
    }

    /** Images were closed: measure the memory again. */
    public synchronized void recheck() {
        nextCollection = System.nanoTime();
    }

    static String noMemory(long nbytes) {
        return "the value needs " + nbytes + " bytes, and ImageJ has "
            + (Runtime.getRuntime().maxMemory() >> 20) + " MiB of memory in all: close images, or"
            + " give ImageJ more (Edit > Options > Memory & Threads...) and restart it";
    }

    private void clear() {
        idle.clear();
        idleBytes = 0;
    }

    private static long key(char type, int length) {
        return (long) length << 8 | type;
    }

    static int size(char type) {
        return type == 'B' ? 1 : type == 'S' ? 2 : type == 'I' || type == 'F' ? 4 : 8;
    }

    private static long nbytes(char type, int length) {
        return (long) length * size(type);
    }
}
