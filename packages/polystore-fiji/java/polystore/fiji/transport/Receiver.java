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
 * Receive the messages of producers, for one viewer. Only processes of this machine reach it: by a
 * Unix domain socket if Java has them (16 and later), or else by tcp of the loopback interface.
 *
 * <p>The viewer's own thread calls {@link #take} after {@link Viewer#wake}, shows the deliveries in
 * order, and settles each one. It answers queries. It never waits for a producer.
 */
public final class Receiver {
    // Locks: the lock of this object guards the writing of isClosed, so that no pause misses it.
    // isClosed is volatile because loops read it without. howClosed is volatile: any thread sets it.
    // connections is a concurrent map. All other
    // fields are final.

    /** Instead of a port: a local socket if Java has them, or else any free port. */
    public static final int LOCAL = -1;

    /**
     * Connections without hello. If there are more, the oldest is closed. A producer says hello after
     * some milliseconds. A stopped one may say it much later, so some may wait without a limit.
     */
    private static final int MOST_STRANGERS = 64;
    private static final int MOST_CONNECTIONS = 500;
    private static final int BACKLOG = 1024; // connections that may wait to be accepted
    private static final int LONGEST_FOLDER = 80; // bytes. The kernel accepts 107 for a whole name.
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
     * Listen, and announce it. {@code port} is a port of tcp, 0 for any, or {@link #LOCAL}.
     * Refused if a running viewer of this kind has the name, or if the port is in use.
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

    /** Return the port in a user's text. */
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

    // The address. Classes of Unix domain sockets are found by name, because Java 8 has none.

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

    /** Set how the receiver will be closed, for the log, such as "by its user". */
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

    /** Return the deliveries since the last call, in order. Settle each one. */
    public List<Delivery> take() {
        return inbox.take();
    }

    /**
     * Report the outcome of a delivery: "shown", "coalesced", "dropped", or "rejected" with a reason.
     * The producer is told if it waits, if the delivery failed, or if it was never shown.
     */
    public void settle(Delivery delivery, String stage, String reason) {
        delivery.connection.answers().settle(delivery, stage, reason);
    }

    /** Answer a query with a JSON value, and arrays whose buffers must not change. */
    public void answer(Delivery delivery, Object value, List<Array> arrays) {
        delivery.connection.answers().answer(delivery, value, arrays);
    }

    public boolean isClosed() {
        return isClosed;
    }

    /**
     * Tell the producers, and stop. Values that were not shown get the answer "closed". Takes half a
     * second if a producer has stopped reading, and milliseconds otherwise.
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
            // This hook is what is running.
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

    // The receiver's threads.

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
            connection = isClosed ? null : made; // if not, close() may have missed it
        } finally {
            if (connection == null) {
                channel.close();
            }
        }
    }

    /** Make room for one more connection without hello, so that producers can connect. */
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

    /** Return the number of producers. */
    int producers() {
        return connections.size();
    }
}
