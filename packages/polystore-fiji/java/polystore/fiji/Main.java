package polystore.fiji;

import ij.IJ;
import ij.ImageJ;
import ij.ImagePlus;
import ij.WindowManager;
import java.awt.GraphicsEnvironment;
import polystore.fiji.transport.Receiver;
import polystore.fiji.transport.Refused;

/** Start an ImageJ that receives: {@code java -cp ij.jar:… polystore.fiji.Main}. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        String name = "default";
        int port = Receiver.LOCAL;
        try {
            for (int at = 0; at < arguments.length; at += 2) {
                if (at + 1 == arguments.length) throw new Refused(arguments[at] + " needs a value");
                if (arguments[at].equals("--name")) name = arguments[at + 1];
                else if (arguments[at].equals("--port")) port = Receiver.port(arguments[at + 1]);
                else throw new Refused(arguments[at] + " is not an option: expected --name or --port");
            }
            if (!GraphicsEnvironment.isHeadless()) {
                new ImageJ().exitWhenQuitting(true);
                ToggleScaleBar.addToMenu(); // ImageJ does this only for jars in its plugins folder
            }
            Receive.toggle(name, port, Main::quit);
        } catch (Exception error) {
            System.err.println("error: " + error.getMessage());
            System.exit(2);
        }
        if (GraphicsEnvironment.isHeadless()) sleep();
    }

    /** Keep the JVM alive: the receiver's threads are daemons, so that a user's ImageJ can end. */
    private static void sleep() {
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    static void quit() {
        new Thread(
                        () -> {
                            // Wait until the producer has read the answer: ZeroMQ drops it with a
                            // connection that is lost at the same moment.
                            IJ.wait(100);
                            if (IJ.getInstance() == null) System.exit(0);
                            int[] open = WindowManager.getIDList();
                            for (int id : open == null ? new int[0] : open) {
                                ImagePlus image = WindowManager.getImage(id);
                                if (image == null) continue;
                                image.changes = false; // do not ask whether to save
                                image.deleteRoi();
                            }
                            IJ.getInstance().quit();
                        },
                        "polystore-quit")
                .start();
    }
}
