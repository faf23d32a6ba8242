package polystore.fiji;

import ij.IJ;
import ij.Macro;
import ij.plugin.PlugIn;
import java.awt.GraphicsEnvironment;
import polystore.fiji.imagej.Fiji;
import polystore.fiji.transport.Receiver;

/**
 * The menu entry "Receive from polystore". The running ImageJ shows what pipelines save, until the
 * entry is chosen again. For example, a macro says
 * {@code run("Receive from polystore", "name=default port=5555")}.
 * The word {@code started} says that a pipeline has started this ImageJ, and may end it.
 */
public final class Receive implements PlugIn {
    // Locks: the lock of the class guards running.

    private static Fiji running;

    @Override
    public void run(String argument) {
        String options = Macro.getOptions();
        String name = option(options, "name", "default");
        String port = option(options, "port", Integer.toString(Receiver.LOCAL));
        try {
            boolean started = options != null && (" " + options + " ").contains(" started ");
            toggle(name, Receiver.port(port), started ? Main::quit : null);
        } catch (Exception error) {
            IJ.error("polystore", error.getMessage());
        }
    }

    private static String option(String options, String key, String otherwise) {
        return options == null ? otherwise : Macro.getValue(options, key, otherwise);
    }

    static synchronized void toggle(String name, int port, Runnable onQuit) throws Exception {
        if (running != null && !running.receiver().isClosed()) {
            running.close();
            running = null;
            IJ.showStatus("polystore: not receiving");
            return;
        }
        Fiji made = new Fiji(!GraphicsEnvironment.isHeadless() && IJ.getInstance() != null, onQuit);
        made.start(name, port);
        running = made;
        IJ.showStatus("polystore: receiving as '" + name + "'");
    }
}
