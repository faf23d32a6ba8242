package polystore.fiji;

import ij.IJ;
import ij.ImageJ;
import ij.ImagePlus;
import ij.WindowManager;
import java.awt.GraphicsEnvironment;
import polystore.fiji.transport.Receiver;
import polystore.fiji.transport.Refused;

/** An ImageJ that receives from its start: {@code java -cp ij.jar:… polystore.fiji.Main}. */
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
                else throw new Refused(arguments[at] + " is unknown: expected --name or --port");
            }
            if (!GraphicsEnvironment.isHeadless()) {
                new ImageJ().exitWhenQuitting(true);
                ToggleScaleBar.addToMenu(); // ImageJ does so only for jars in its plugins folder
            }
            Receive.toggle(name, port, Main::quit);
        } catch (Exception error) {
            System.err.println("error: " + error.getMessage());
            System.exit(2);
        }
        if (GraphicsEnvironment.isHeadless()) sleep();
    }

    /** Threads of the receiver are daemons: they must not keep the ImageJ of a user alive. */
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
                            // Who asked has read the answer then: ZeroMQ drops it with a
                            // connection that is lost at the same moment.
                            IJ.wait(100);
                            if (IJ.getInstance() == null) System.exit(0);
                            int[] open = WindowManager.getIDList();
                            for (int id : open == null ? new int[0] : open) {
                                ImagePlus image = WindowManager.getImage(id);
                                if (image == null) continue;
                                image.changes = false; // nobody is there to be asked
                                image.deleteRoi();
                            }
                            IJ.getInstance().quit();
                        },
                        "polystore-quit")
                .start();
    }
}
