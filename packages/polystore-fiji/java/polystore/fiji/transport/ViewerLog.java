package polystore.fiji.transport;

import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;

/**
 * The log of this viewer: its start, its errors, and how it was closed. If polystore has started
 * it, that is its output. Python removes old logs.
 */
public final class ViewerLog {
    // Locks: the lock of this object guards isEnded and the writing.

    /** Environment variable that polystore sets for a viewer whose output is its log. */
    private static final String PRINTS = "POLYSTORE_VIEWER_LOG";

    private final Path file;
    private boolean isEnded;

    ViewerLog(Announcement announcement, String version) {
        String name = announcement.kind + "-" + announcement.name + "-" + announcement.pid + ".log";
        file = System.getenv(PRINTS) == null ? announcement.file.resolveSibling(name) : null;
        String now = LocalDateTime.now().format(DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss"));
        write("polystore: started " + now + ": " + announcement.kind + " " + version);
    }

    /** Report an error in more detail than its producer gets. */
    public void report(Throwable error) {
        StringWriter text = new StringWriter();
        error.printStackTrace(new PrintWriter(text, true));
        if (file != null) {
            error.printStackTrace(); // on the console of ImageJ's user, as well
        }
        write(text.toString().trim());
    }

    /** Note once how the viewer was closed, such as "by its user". */
    synchronized void end(String how) {
        if (!isEnded) {
            isEnded = true;
            write("polystore: it was closed " + how);
        }
    }

    private synchronized void write(String text) {
        if (file == null) {
            System.err.println(text);
            return;
        }
        try {
            if (!Files.exists(file)) {
                Files.createFile(file, Announcement.mode("rw-------"));
            }
            try (OutputStream out = Files.newOutputStream(file, StandardOpenOption.APPEND)) {
                out.write((text + "\n").getBytes(StandardCharsets.UTF_8));
            }
        } catch (IOException error) {
            System.err.println("polystore: " + file + " could not be written: " + error);
        }
    }
}
