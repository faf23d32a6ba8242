package polystore.fiji.transport;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.regex.Pattern;

/**
 * Memory of a producer, mapped for reading: a page with a nonce, then slots.
 *
 * <p>Java cannot check seals. But a producer is a process of this user, and if its memory shrinks,
 * only the copy that reads it fails, and the JVM continues.
 */
final class Ring {
    static final int SLOT = 2 << 20;
    private static final int HEAD = 4096;
    private static final int TOP = 32;
    private static final Pattern PROC = Pattern.compile("/proc/[0-9]+/fd/[0-9]+");
    private static final Pattern NAMED = Pattern.compile("polystore-ring-[0-9A-Za-z_-]+");

    private AutoCloseable unmap;
    private final ByteBuffer view;
    private final int slots;

    Ring(String name, long size, String nonce) throws Refused {
        Path path = checked(name);
        boolean isNamed = !PROC.matcher(name).matches();
        LinkOption[] links = isNamed ? new LinkOption[] {LinkOption.NOFOLLOW_LINKS} : new LinkOption[0];
        OpenOption[] options = isNamed
            ? new OpenOption[] {StandardOpenOption.READ, LinkOption.NOFOLLOW_LINKS}
            : new OpenOption[] {StandardOpenOption.READ};
        try {
            // Check before opening: a pipe would make this thread wait.
            if (!Files.isRegularFile(path, links)
                || !isNamed && !Files.readSymbolicLink(path).toString().startsWith("/memfd:")) {
                throw new Refused("the ring " + name + " is not memory that this process can open");
            }
            try (FileChannel file = FileChannel.open(path, options)) {
                if (file.size() != size || (size - HEAD) % SLOT != 0 || size <= HEAD
                    || size > Integer.MAX_VALUE) {
                    throw new Refused(file.size() + " bytes do not fit the size " + size + " of a ring");
                }
                view = mapped(file, size).order(ByteOrder.LITTLE_ENDIAN);
            }
        } catch (IOException error) {
            throw new Refused("the ring " + name + " cannot be opened: " + error.getMessage());
        }
        slots = (int) ((size - HEAD) / SLOT);
        byte[] top = new byte[TOP];
        view.get(top);
        if (!Arrays.equals(top, top(nonce))) {
            close();
            throw new Refused("the ring " + name + " is the memory of another process");
        }
    }

    private static Path checked(String name) throws Refused {
        try {
            Path path = Paths.get(name);
            Path folder = path.getParent();
            if (PROC.matcher(name).matches()
                || folder != null && NAMED.matcher(path.getFileName().toString()).matches()
                && (folder.equals(Paths.get("/dev/shm"))
                || folder.equals(Announcement.temporary()))) {
                return path;
            }
        } catch (InvalidPathException noPath) {
            // Refused below.
        }
        throw new Refused(name + " is not the path of a ring");
    }

    /** Return the first bytes that the memory must have. A wrong nonce never matches. */
    private static byte[] top(String nonce) {
        byte[] top = Arrays.copyOf("polystore ring 1".getBytes(StandardCharsets.US_ASCII), TOP);
        if (!nonce.matches("[0-9a-f]{32}")) {
            return new byte[0];
        }
        for (int i = 0; i < 16; i++) {
            top[16 + i] = (byte) Integer.parseInt(nonce.substring(2 * i, 2 * i + 2), 16);
        }
        return top;
    }

    /** Return the first bytes of a slot. Copy them before the next call. */
    ByteBuffer slot(int index, long nbytes) throws Refused {
        if (index < 0 || index >= slots || nbytes < 1 || nbytes > SLOT) {
            throw new Refused(nbytes + " bytes do not fit slot " + index + " of " + slots + " slots");
        }
        view.limit(HEAD + index * SLOT + (int) nbytes);
        view.position(HEAD + index * SLOT);
        return view;
    }

    /**
     * Map a file so that the memory can be freed: by its arena from Java 22 on, by
     * Unsafe.invokeCleaner from 9 on, by the buffer's own cleaner before. If none of these is
     * available, the garbage collector frees it later.
     */
    private ByteBuffer mapped(FileChannel file, long size) throws IOException {
        if (!System.getProperty("java.specification.version").matches("2[2-9]|[3-9][0-9]")) {
            MappedByteBuffer plain = file.map(FileChannel.MapMode.READ_ONLY, 0, size);
            unmap = () -> clean(plain);
            return plain;
        }
        try {
            Class<?> arenas = Class.forName("java.lang.foreign.Arena");
            AutoCloseable arena = (AutoCloseable) arenas.getMethod("ofConfined").invoke(null);
            unmap = arena;
            Object segment = FileChannel.class
                .getMethod("map", FileChannel.MapMode.class, long.class, long.class, arenas)
                .invoke(file, FileChannel.MapMode.READ_ONLY, 0L, size, arena);
            return (ByteBuffer) Class.forName("java.lang.foreign.MemorySegment")
                .getMethod("asByteBuffer").invoke(segment);
        } catch (ReflectiveOperationException error) {
            throw new IOException(error);
        }
    }

    private static void clean(MappedByteBuffer map) throws ReflectiveOperationException {
        try {
            Class<?> unsafe = Class.forName("sun.misc.Unsafe");
            Field field = unsafe.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            unsafe.getMethod("invokeCleaner", ByteBuffer.class).invoke(field.get(null), map);
        } catch (NoSuchMethodException old) {
            Method cleaner = map.getClass().getMethod("cleaner");
            cleaner.setAccessible(true);
            Object found = cleaner.invoke(map);
            found.getClass().getMethod("clean").invoke(found);
        }
    }

    /** Free the memory, in the thread that has opened it. */
    void close() {
        try {
            unmap.close();
        } catch (Exception none) { // of any kind: the garbage collector frees it later
            return;
        }
    }
}
