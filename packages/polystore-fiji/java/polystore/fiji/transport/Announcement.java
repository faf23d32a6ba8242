package polystore.fiji.transport;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** The private file with the address and the secret token of a receiver. */
final class Announcement {
    // Locks: the lock of the class lets one thread at a time lock the file of a kind, because Java
    // refuses a second lock of one file. All fields are final.

    private static final Pattern NAME =
        Pattern.compile("[\\w. -]{1,64}", Pattern.UNICODE_CHARACTER_CLASS);
    private static final Path PROC = Paths.get("/proc/self/stat");
    static final boolean IS_POSIX =
        Paths.get(".").getFileSystem().supportedFileAttributeViews().contains("posix");

    final String kind;
    final String name;
    final String address;
    final long pid = pid();
    final String host = hostIdentity();
    final Path file;
    private final byte[] token;

    /** Announce a receiver. Refused if a running receiver of its kind has the name. */
    Announcement(String kind, String name, String address) throws IOException, Refused {
        this.kind = kind;
        this.name = name;
        this.address = address;
        byte[] secret = new byte[16];
        new SecureRandom().nextBytes(secret);
        token = Base64.getUrlEncoder().withoutPadding().encode(secret);
        Path folder = runtimeDirectory();
        file = folder.resolve(kind + "-" + pid + "-" + hexadecimal() + ".json");
        Path lock = folder.resolve(".~ps-" + kind + ".lock");
        synchronized (Announcement.class) {
            try (RandomAccessFile locked = new RandomAccessFile(lock.toFile(), "rw")) {
                locked.getChannel().lock(); // until it is closed
                checkFree(folder);
                write();
            }
        }
    }

    static void checkName(String name) throws Refused {
        if (!NAME.matcher(name).matches()) {
            throw new Refused("name '" + name + "' is not valid: expected 1 to 64 letters,"
                + " digits, spaces, '.', '_' or '-'");
        }
    }

    static String hexadecimal() {
        return String.format("%08x", new SecureRandom().nextInt());
    }

    boolean hasToken(String given) {
        return MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), token);
    }

    private void write() throws IOException {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("kind", kind);
        fields.put("name", name);
        fields.put("address", address);
        fields.put("token", new String(token, StandardCharsets.US_ASCII));
        fields.put("pid", pid);
        fields.put("started", processStart(pid));
        fields.put("since", System.currentTimeMillis() / 1000.0);
        fields.put("server_key", "");
        fields.put("host", host);
        Path draft = file.resolveSibling(file.getFileName().toString().replace(".json", ".new"));
        Set<StandardOpenOption> options =
            EnumSet.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        try {
            Files.newByteChannel(draft, options, mode("rw-------")).close();
            Files.write(draft, Json.write(fields), StandardOpenOption.WRITE);
            Files.move(draft, file, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(draft);
        }
    }

    static FileAttribute<?>[] mode(String permissions) {
        return IS_POSIX
            ? new FileAttribute<?>[] {PosixFilePermissions.asFileAttribute(
                PosixFilePermissions.fromString(permissions))}
            : new FileAttribute<?>[0];
    }

    void withdraw() {
        try {
            Files.deleteIfExists(file);
        } catch (IOException error) {
            System.err.println("polystore: " + file + " could not be removed: " + error);
        }
    }

    private void checkFree(Path folder) throws IOException, Refused {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, kind + "-*.json")) {
            for (Path path : files) {
                Fields other;
                try {
                    other = new Fields(Json.read(Files.readAllBytes(path)));
                    if (!processRuns(other.integer("pid"), other.text("started", ""))) {
                        sweep(path, other);
                        continue;
                    }
                    if (!other.text("kind").equals(kind) || !other.text("name").equals(name)) {
                        continue;
                    }
                } catch (IOException | Refused unreadable) { // it was just removed, or is damaged
                    continue;
                }
                throw new Refused("the name '" + name + "' is in use by " + kind + " (process "
                    + other.integer("pid") + "): close that one, or choose another name");
            }
        }
    }

    /** Remove the files of a receiver of this machine that was killed. */
    private void sweep(Path path, Fields other) throws IOException, Refused {
        String socket = other.text("address");
        if (other.text("host", "").equals(host)) {
            Files.deleteIfExists(path);
            if (socket.startsWith("ipc://") && socket.endsWith(".sock")) {
                removeSocket(Paths.get(socket.substring(6)));
            }
        }
    }

    static void removeSocket(Path socket) throws IOException {
        Files.deleteIfExists(socket);
        Path folder = socket.getParent();
        if (folder.getFileName().toString().startsWith("polystore-socket-")) {
            Files.deleteIfExists(folder);
        }
    }

    // Folders.

    /** Return the private folder. Create it if it is missing. */
    static Path runtimeDirectory() throws IOException, Refused {
        String given = System.getenv("POLYSTORE_RUNTIME_DIR");
        String session = System.getenv("XDG_RUNTIME_DIR");
        Path folder;
        if (given != null && !given.isEmpty()) {
            folder = Paths.get(given);
        } else if (session != null && !session.isEmpty() && Files.isDirectory(Paths.get(session))) {
            folder = Paths.get(session, "polystore");
        } else {
            String user = System.getenv("USERNAME") == null ? "user" : System.getenv("USERNAME");
            folder = temporary().resolve("polystore-" + (IS_POSIX ? userId() : user));
        }
        if (folder.getParent() != null) {
            Files.createDirectories(folder.getParent());
        }
        try {
            Files.createDirectory(folder, mode("rwx------"));
        } catch (FileAlreadyExistsException known) {
            // The usual case. A file or a link is refused below.
        }
        if (IS_POSIX && !isPrivate(folder)) {
            throw new Refused(folder + " is not a private folder of this user (mode 0700): "
                + "set POLYSTORE_RUNTIME_DIR to one");
        }
        return folder;
    }

    private static boolean isPrivate(Path folder) throws IOException {
        if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        Set<PosixFilePermission> others =
            Files.getPosixFilePermissions(folder, LinkOption.NOFOLLOW_LINKS);
        others.removeAll(PosixFilePermissions.fromString("rwx------"));
        return others.isEmpty()
            && Files.getAttribute(folder, "unix:uid", LinkOption.NOFOLLOW_LINKS).equals(userId());
    }

    /** Return the id of the user that owns new files. Java has no other way to find it. */
    private static Object userId() throws IOException {
        Path probe = Files.createTempFile("polystore", null);
        try {
            return Files.getAttribute(probe, "unix:uid");
        } finally {
            Files.delete(probe);
        }
    }

    /** Return Python's temporary directory. Java's own one ignores TMPDIR. */
    static Path temporary() {
        for (String variable : new String[] {"TMPDIR", "TEMP", "TMP"}) {
            String folder = System.getenv(variable);
            if (folder != null && !folder.isEmpty() && Files.isWritable(Paths.get(folder))) {
                return Paths.get(folder).toAbsolutePath();
            }
        }
        return Paths.get(IS_POSIX ? "/tmp" : System.getProperty("java.io.tmpdir"));
    }

    // Processes.

    static long pid() {
        try {
            return Long.parseLong(Paths.get("/proc/self").toRealPath().getFileName().toString());
        } catch (IOException | NumberFormatException elsewhere) {
            return Long.parseLong(
                ManagementFactory.getRuntimeMXBean().getName().replaceFirst("@.*", ""));
        }
    }

    /** Return when a process started, in the system's own count, or "" if that is unknown. */
    static String processStart(long pid) {
        String[] fields = stat(pid);
        return fields.length > 19 ? fields[19] : "";
    }

    /** Return the fields after the name in the system's file: the state, and so on. */
    private static String[] stat(long pid) {
        try {
            byte[] bytes = Files.readAllBytes(Paths.get("/proc/" + pid + "/stat"));
            String text = new String(bytes, StandardCharsets.ISO_8859_1);
            return text.substring(text.lastIndexOf(')') + 1).trim().split(" ");
        } catch (IOException gone) {
            return new String[] {"X"};
        }
    }

    /** Whether a process runs: not a zombie, and not a later process with the same number. */
    static boolean processRuns(long pid, String started) {
        if (Files.exists(PROC)) {
            String[] fields = stat(pid);
            return !fields[0].matches("[ZX]")
                && (started.isEmpty() || fields.length > 19 && fields[19].equals(started));
        }
        try { // Java 8 has no ProcessHandle: count it as ended, or it keeps its name
            Class<?> handles = Class.forName("java.lang.ProcessHandle");
            Object found = handles.getMethod("of", long.class).invoke(null, pid);
            return (Boolean) found.getClass().getMethod("isPresent").invoke(found);
        } catch (ReflectiveOperationException none) {
            return false;
        }
    }

    /** Return a text that is equal in processes that can share memory by their pids. */
    private static String hostIdentity() {
        String name = read("/proc/sys/kernel/hostname");
        if (name.isEmpty()) {
            try {
                name = InetAddress.getLocalHost().getHostName();
            } catch (IOException nameless) {
                return "";
            }
        }
        StringBuilder found = new StringBuilder(name);
        for (String path : new String[] {"/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"}) {
            String part = read(path);
            found.append(part.isEmpty() ? "" : "-").append(part);
        }
        return found.toString();
    }

    private static String read(String name) {
        Path path = Paths.get(name);
        try {
            return Files.isSymbolicLink(path) ? Files.readSymbolicLink(path).toString()
                : new String(Files.readAllBytes(path), StandardCharsets.UTF_8).trim();
        } catch (IOException none) {
            return "";
        }
    }
}
