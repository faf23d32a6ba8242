package polystore.fiji.transport;

import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolFamily;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Takes in what producers send, for one viewer. Only processes of this machine reach it: by a Unix
 * domain socket where Java has them (16 and later), else by tcp of the loopback interface.
 *
 * <p>The viewer's own thread calls {@link #take} after {@link Viewer#wake}, shows what came in that
 * order, and settles each delivery; queries are answered. None of it ever waits for a producer.
 */
public final class Receiver {
    // Locks: the lock of this object guards the writing of isClosed, so that no pause misses it.
    // isClosed is volatile because loops read it without. howClosed is volatile: any thread sets it.
    // connections is a concurrent map. All other
    // fields are final.

    /** Instead of a port: a local socket where there are such, else any free port. */
    public static final int LOCAL = -1;

    /**
     * Connections that have not said hello: of more, the oldest is closed. A producer says it after
     * some milliseconds. One that is stopped before may say it after any time: few are left alone.
     */
    private static final int MOST_STRANGERS = 64;
    private static final int MOST_CONNECTIONS = 500;
    private static final int BACKLOG = 1024; // connections that wait for the thread that accepts
    private static final int LONGEST_FOLDER = 80; // bytes, of 107 that the kernel takes
    static final long LIMIT = 256 << 20;

    final Viewer viewer;
    final Inbox inbox;
    final Announcement announcement;
    private final ViewerLog log;
    private final Pool pool = new Pool();
    private final Map<Connection, Thread> connections = new ConcurrentHashMap<>();
    private final ServerSocketChannel server;
    private final Path socket;
    private final Thread hook = new Thread(this::close, "polystore-end");
    private volatile boolean isClosed;
    private volatile String howClosed = "with its program";

    /**
     * Listen, and announce it. {@code port} is one of tcp, 0 for any, or {@link #LOCAL}.
     * Refused with a reason for a name that a running viewer of this kind has, or a port in use.
     */
    public Receiver(Viewer viewer, String name, int port) throws IOException, Refused {
        this.viewer = viewer;
        Announcement.checkName(name);
        inbox = new Inbox(Math.min(LIMIT, Runtime.getRuntime().maxMemory() / 8));
        socket = port == LOCAL ? socketPath() : null;
        server = socket == null ? boundToPort(Math.max(port, 0)) : boundTo(socket);
        Announcement announced = null;
        try {
            announced = new Announcement(viewer.kind(), name, localAddress());
        } finally {
            if (announced == null) {
                isClosed = true;
                closeServer();
            }
        }
        announcement = announced;
        log = new ViewerLog(announced, viewer.version());
        thread("polystore-accept", this::accept).start();
        thread("polystore-look", this::look).start();
        Runtime.getRuntime().addShutdownHook(hook);
    }

    /** Return the port that a user gives as text. */
    public static int port(String text) throws Refused {
        try {
            int port = Integer.parseInt(text);
            if (port >= LOCAL && port <= 65_535) {
                return port;
            }
        } catch (NumberFormatException noNumber) {
            // Refused below.
        }
        throw new Refused(
            "port '" + text + "' is not valid: expected a number from 0 (any free port) to 65535");
    }

    public static Thread thread(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        return thread;
    }

    // The address. Unix domain sockets are looked up by name: Java 8 has none.

    private static Path socketPath() throws IOException, Refused {
        if (!Announcement.IS_POSIX || family() == null) {
            return null;
        }
        Path folder = Announcement.runtimeDirectory();
        if (folder.toString().getBytes().length > LONGEST_FOLDER) {
            Path above = Announcement.temporary();
            boolean isShort = above.toString().getBytes().length <= LONGEST_FOLDER / 2;
            folder = Files.createTempDirectory(
                isShort ? above : Paths.get("/tmp"), "polystore-socket-");
        }
        return folder.resolve(Announcement.pid() + "-" + Announcement.hexadecimal() + ".sock");
    }

    private static ProtocolFamily family() {
        try {
            return StandardProtocolFamily.valueOf("UNIX");
        } catch (IllegalArgumentException old) {
            return null;
        }
    }

    private static ServerSocketChannel boundTo(Path socket) throws IOException {
        try {
            ServerSocketChannel server = (ServerSocketChannel) ServerSocketChannel.class
                .getMethod("open", ProtocolFamily.class).invoke(null, family());
            Object address = Class.forName("java.net.UnixDomainSocketAddress")
                .getMethod("of", Path.class).invoke(null, socket);
            return server.bind((SocketAddress) address, BACKLOG);
        } catch (ReflectiveOperationException | IOException error) {
            Announcement.removeSocket(socket);
            throw new IOException("cannot make a local socket: " + error, error);
        }
    }

    private static ServerSocketChannel boundToPort(int port) throws IOException, Refused {
        InetAddress here = InetAddress.getByAddress(new byte[] {127, 0, 0, 1});
        ServerSocketChannel server = ServerSocketChannel.open();
        try {
            return server.bind(new InetSocketAddress(here, port), BACKLOG);
        } catch (BindException error) {
            server.close();
            throw new Refused("port " + port + " of 127.0.0.1 cannot be used ("
                + error.getMessage() + "): choose another, or 0 for any free port");
        }
    }

    private String localAddress() throws IOException {
        return socket != null ? "ipc://" + socket.toAbsolutePath()
            : "tcp://127.0.0.1:" + ((InetSocketAddress) server.getLocalAddress()).getPort();
    }

    Path connectionFile() {
        return announcement.file;
    }

    /** Say how this is about to be closed, for the log: "by its user". */
    public void closes(String how) {
        howClosed = how;
    }

    public ViewerLog log() {
        return log;
    }

    public Pool pool() {
        return pool;
    }

    // The viewer's thread.

    /** Return what came since the last call, in order; settle each one. */
    public List<Delivery> take() {
        return inbox.take();
    }

    /**
     * Say what became of a delivery: "shown", "coalesced", "dropped", or "rejected" with a reason.
     * The producer hears of it if it waits, if it failed, or if it was never shown.
     */
    public void settle(Delivery delivery, String stage, String reason) {
        delivery.connection.answers().settle(delivery, stage, reason);
    }

    /** Answer a query with what JSON can hold, and arrays, whose buffers must not change. */
    public void answer(Delivery delivery, Object value, List<Array> arrays) {
        delivery.connection.answers().answer(delivery, value, arrays);
    }

    public boolean isClosed() {
        return isClosed;
    }

    /**
     * Tell the producers, and stop. What was not shown is answered with "closed". Takes half a
     * second where a producer has stopped reading, else milliseconds.
     */
    public void close() {
        synchronized (this) {
            if (isClosed) {
                return;
            }
            isClosed = true;
            announcement.withdraw();
            log.end(howClosed);
            notifyAll();
        }
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException ending) {
            // It is that hook which runs.
        }
        closeServer();
        inbox.end();
        for (Connection connection : connections.keySet()) {
            connection.answers().finish();
        }
        long end = System.nanoTime() + 500_000_000L;
        for (Map.Entry<Connection, Thread> entry : connections.entrySet()) {
            try {
                entry.getValue().join(Math.max(1, (end - System.nanoTime()) / 1_000_000));
            } catch (InterruptedException hurry) {
                Thread.currentThread().interrupt();
            }
            entry.getKey().answers().close();
        }
    }

    private void closeServer() {
        try {
            server.close();
            if (socket != null) {
                Announcement.removeSocket(socket);
            }
        } catch (IOException error) {
            System.err.println("polystore: " + socket + " could not be removed: " + error);
        }
    }

    // Threads of its own.

    private void accept() {
        while (!isClosed) {
            try {
                begin(server.accept());
            } catch (ClosedChannelException closed) {
                return;
            } catch (IOException | OutOfMemoryError error) { // no files, memory or threads left
                pause();
            }
        }
    }

    private void begin(SocketChannel channel) throws IOException {
        Connection connection = null;
        try {
            closeStrangers();
            if (connections.size() >= MOST_CONNECTIONS) {
                return;
            }
            if (socket == null) {
                channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            }
            Connection made = new Connection(this, channel);
            Thread thread = thread("polystore-producer", made);
            connections.put(made, thread);
            thread.start();
            connection = isClosed ? null : made; // else close() may not have seen it
        } finally {
            if (connection == null) {
                channel.close();
            }
        }
    }

    /** Make room for one more connection that has not said hello: producers need it. */
    private void closeStrangers() {
        List<Connection> strangers = new ArrayList<>();
        for (Connection connection : connections.keySet()) {
            if (connection.isStranger()) {
                strangers.add(connection);
            }
        }
        strangers.sort(Comparator.comparingLong(connection -> connection.since));
        for (int i = 0; i <= strangers.size() - MOST_STRANGERS; i++) {
            connections.remove(strangers.get(i));
            strangers.get(i).answers().close();
        }
    }

    void ended(Connection connection) {
        connections.remove(connection);
    }

    private void look() {
        while (!isClosed) {
            for (Connection connection : connections.keySet()) {
                connection.look();
            }
            pause();
        }
    }

    private synchronized void pause() {
        try {
            if (!isClosed) {
                wait(500);
            }
        } catch (InterruptedException hurry) {
            Thread.currentThread().interrupt();
        }
    }

    /** How many producers there are. */
    int producers() {
        return connections.size();
    }
}
