package polystore.fiji.imagej;

import ij.IJ;
import ij.ImageListener;
import ij.ImagePlus;
import ij.gui.ImageWindow;
import java.awt.EventQueue;
import java.awt.Toolkit;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.swing.Timer;
import polystore.fiji.transport.Array;
import polystore.fiji.transport.Channel;
import polystore.fiji.transport.Delivery;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Receiver;
import polystore.fiji.transport.Refused;
import polystore.fiji.transport.Viewer;

/**
 * Show the deliveries of the receiver in ImageJ. Plans are made in the receiver's threads, so that
 * a value that does not fit is refused at once. Only one thread uses images: that of AWT, or
 * one of our own if there is no screen.
 */
public final class Fiji implements Viewer, ImageListener {
    // Locks: awake guards receiver, and its wait ends when due is set, which is atomic. screen and
    // questions are written before receiver, once. The thread of the images owns all other fields.

    static final String KIND = "fiji";

    /** Milliseconds between two changes of the screen, at least, and the longest pause after one. */
    private static final long FRAME = 33, MOST_REST = 120;

    /** Milliseconds between two checks whether something was painted. */
    private static final int LOOK = 5;

    /** Milliseconds after which an unpainted value counts as received only: its window is hidden. */
    private static final long HIDDEN = 1000;

    private static final class Waiting {
        final Shown shown;
        final Delivery delivery;
        final long since = System.currentTimeMillis();

        Waiting(Shown shown, Delivery delivery) {
            this.shown = shown;
            this.delivery = delivery;
        }
    }

    private final boolean visible;
    private final Runnable onQuit;
    private final Planner planner = new Planner();
    private final AtomicBoolean due = new AtomicBoolean();
    private final Pulse pulse = new Pulse();
    private final List<Waiting> waiting = new ArrayList<>();
    private final Set<Shown> unopened = new HashSet<>();
    private final Timer flush, look;
    private final Object awake = new Object();
    private Receiver receiver;
    private Screen screen;
    private Questions questions;
    private long begun, cost;

    /** {@code onQuit} ends the program. Null if its user has started it, and will end it. */
    public Fiji(boolean visible, Runnable onQuit) {
        this.visible = visible;
        this.onQuit = onQuit;
        flush = visible ? new Timer(0, event -> flush()) : null;
        look = visible ? new Timer(LOOK, event -> lookAgain()) : null;
        if (visible) flush.setRepeats(false);
    }

    public void start(String name, int port) throws Exception {
        Receiver made = new Receiver(this, name, port);
        synchronized (awake) {
            screen = new Screen(planner, made.pool(), visible);
            questions = new Questions(screen, pulse, onQuit != null);
            receiver = made;
        }
        if (visible) ImagePlus.addImageListener(this); // without windows, only we close images
        else Receiver.thread("polystore-images", this::flushWhenAwake).start();
        wake(); // for deliveries that came before this thread started
    }

    public Receiver receiver() {
        synchronized (awake) {
            return receiver;
        }
    }

    /** Show or hide the scale bar of an image. Return whether it is in a window of ours. */
    public static boolean toggleScaleBar(ImagePlus image) {
        return Pane.toggleBar(image);
    }

    public void close() {
        ImagePlus.removeImageListener(this);
        receiver().closes("by its user");
        receiver().close();
    }

    // ── the receiver's threads ────────────────────────────────────────────────────────────

    @Override
    public String kind() {
        return KIND;
    }

    @Override
    public String version() {
        return IJ.getVersion();
    }

    @Override
    public Object accept(Item item) throws Refused {
        if (item.isImage) {
            if (item.colormap != null) Looks.lut(item.colormap);
            for (Channel channel : item.channels)
                if (channel.color != null) Looks.lut(channel.color);
        } else if (!item.encoding.equals("imagej"))
            throw new Refused("expected ROIs of encoding 'imagej', got '" + item.encoding + "'");
        return planner.plan(item);
    }

    @Override
    public void wake() {
        if (!due.compareAndSet(false, true)) return; // one call is enough for all deliveries until then
        if (visible) EventQueue.invokeLater(this::schedule);
        else
            synchronized (awake) {
                awake.notify();
            }
    }

    // ── the thread of the images ──────────────────────────────────────────────────────────

    private void flushWhenAwake() {
        try {
            while (true) {
                synchronized (awake) {
                    while (!due.get()) awake.wait();
                }
                flush();
                Thread.sleep(FRAME); // collect deliveries, to show them together
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void schedule() {
        long pause = Math.max(FRAME, Math.min(2 * cost, MOST_REST));
        flush.setInitialDelay(
                (int) Math.max(0, pause - (System.currentTimeMillis() - begun)));
        flush.start();
    }

    private void flush() {
        due.set(false);
        Receiver from = receiver();
        if (from == null) return;
        begun = System.currentTimeMillis();
        pulse.beat();
        screen.forgetClosed(); // ImageJ reports closed images only later, when they are empty
        List<Delivery> values = new ArrayList<>();
        for (Delivery delivery : from.take()) {
            if (delivery.item != null) values.add(delivery);
            else {
                show(values); // the answer must include all values that came before
                values.clear();
                answer(delivery);
            }
        }
        show(values);
        if (visible) EventQueue.invokeLater(() -> cost = System.currentTimeMillis() - begun);
    }

    /** Show values. Report every error to the producer: it must not end this thread. */
    private void show(List<Delivery> values) {
        Map<String, Delivery> latest = new HashMap<>();
        for (Delivery delivery : values) latest.put(((Plan) delivery.plan).identity, delivery);
        Map<Delivery, Throwable> failed = new HashMap<>();
        refresh(put(values, latest, failed), failed);
        mark(latest.values(), failed); // after the images, on which they lie
        for (Delivery delivery : values)
            try {
                settle(delivery, latest, failed);
            } catch (RuntimeException | Error error) { // there is no thread for the answer, or no memory
                receiver().log().report(error);
            }
    }

    /** Put planes into images. Return the images, each with its last value. */
    private Map<Shown, Delivery> put(
            List<Delivery> values, Map<String, Delivery> latest, Map<Delivery, Throwable> failed) {
        Map<Shown, Delivery> touched = new LinkedHashMap<>();
        for (Delivery delivery : values) {
            if (!delivery.item.isImage) continue;
            Plan plan = (Plan) delivery.plan;
            if (latest.get(plan.identity) != delivery && !plan.restarts) delivery.pixels.release();
            else
                try {
                    Shown shown = screen.imageFor(plan, delivery.item);
                    touched.put(shown, delivery);
                    shown.put(plan, delivery.item, delivery.pixels.planes);
                } catch (RuntimeException | Error error) { // for example of an ImageJ with other methods
                    failed.put(delivery, error);
                }
        }
        return touched;
    }

    private void refresh(Map<Shown, Delivery> touched, Map<Delivery, Throwable> failed) {
        for (Map.Entry<Shown, Delivery> entry : touched.entrySet())
            try {
                screen.refresh(entry.getKey());
                if (entry.getKey().isOpen()) continue;
                unopened.add(entry.getKey());
                look.start();
            } catch (RuntimeException | Error error) {
                failed.putIfAbsent(entry.getValue(), error);
            }
    }

    private void mark(Collection<Delivery> values, Map<Delivery, Throwable> failed) {
        for (Delivery delivery : values)
            if (!delivery.item.isImage)
                try {
                    screen.mark((Plan) delivery.plan, delivery);
                } catch (Refused | RuntimeException | Error error) {
                    failed.put(delivery, error);
                }
    }

    private void settle(
            Delivery delivery, Map<String, Delivery> latest, Map<Delivery, Throwable> failed) {
        Plan plan = (Plan) delivery.plan;
        boolean isImage = delivery.item.isImage;
        Throwable error = failed.get(delivery);
        if (error instanceof Refused) receiver().settle(delivery, "rejected", error.getMessage());
        else if (error != null) {
            if (!(error instanceof OutOfMemoryError)) receiver().log().report(error);
            receiver().settle(delivery, "rejected", "ImageJ cannot show it: " + error);
        } else if (latest.get(plan.identity) != delivery)
            receiver().settle(delivery, "coalesced", "");
        else {
            // ROIs are painted with their image.
            Shown shown = isImage ? screen.image(plan.key) : screen.below(delivery.item);
            if (visible && delivery.awaited && shown != null) {
                waiting.add(new Waiting(shown, delivery));
                look.start();
            } else receiver().settle(delivery, "shown", "");
        }
    }

    /** Open windows that a macro has kept closed, and settle the painted values. */
    private void lookAgain() {
        for (Shown shown : new ArrayList<>(unopened)) {
            boolean stays = screen.image(shown.key) == shown;
            if (stays) shown.show();
            if (shown.isOpen() || !stays) unopened.remove(shown);
        }
        // Painted pixels may still be on their way to the screen.
        if (waiting.stream().anyMatch(one -> one.shown.isPainted()))
            Toolkit.getDefaultToolkit().sync();
        long late = System.currentTimeMillis() - HIDDEN;
        for (Waiting one : new ArrayList<>(waiting)) {
            Shown now = screen.image(one.shown.key);
            boolean stays = now == one.shown;
            if (stays && !now.isPainted() && one.since > late) continue;
            waiting.remove(one);
            if (now == null) receiver().settle(one.delivery, "closed", "the image was closed");
            else if (!stays) receiver().settle(one.delivery, "coalesced", "");
            else receiver().settle(one.delivery, now.isPainted() ? "shown" : "received", "");
        }
        if (waiting.isEmpty() && unopened.isEmpty()) look.stop();
    }

    // ── images that their user closes ─────────────────────────────────────────────────────

    @Override
    public void imageOpened(ImagePlus image) {}

    @Override
    public void imageUpdated(ImagePlus image) {}

    @Override
    public void imageClosed(ImagePlus image) {
        // ImageJ also reports an image as closed that gets a window with another slider: a moment later
        // it has one. A closed image that a plugin works on keeps its window.
        EventQueue.invokeLater(
                () -> {
                    ImageWindow window = image.getWindow();
                    if (window == null || window.isClosed()) screen.forget(image);
                });
    }

    // ── queries ───────────────────────────────────────────────────────────────────────────

    private void answer(Delivery delivery) {
        List<Array> arrays = new ArrayList<>();
        try {
            Object value = questions.answer(delivery.query, delivery.arguments, arrays);
            receiver().answer(delivery, value, arrays);
            if (delivery.query.equals("quit")) {
                receiver().closes("by quit()");
                onQuit.run();
            }
        } catch (Refused refused) {
            receiver().settle(delivery, "rejected", refused.getMessage());
        } catch (OutOfMemoryError error) {
            String reason = "ImageJ has not enough memory left for the answer: close images";
            receiver().settle(delivery, "rejected", reason);
        } catch (RuntimeException | Error error) { // a bad query must not end ImageJ
            receiver().settle(delivery, "rejected", error.toString());
        }
    }
}
