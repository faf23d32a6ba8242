package polystore.fiji.imagej;

import ij.IJ;
import ij.ImageListener;
import ij.ImagePlus;
import ij.gui.ImageWindow;
import ij.gui.Roi;
import java.awt.EventQueue;
import java.awt.Toolkit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
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
 * Shows in ImageJ what its receiver takes in. Plans are made in the receiver's threads, so that
 * what does not fit is refused at once; images are touched in one thread alone: that of AWT, or
 * where there is no screen, one of our own.
 */
public final class Fiji implements Viewer, ImageListener {
    static final String KIND = "fiji";

    /** Milliseconds between two changes of the screen: at least, and most on account of cost. */
    private static final long FRAME = 33, MOST_REST = 120;

    /** Milliseconds between two looks at whether something was painted. */
    private static final int LOOK = 5;

    /** Milliseconds after which what was not painted counts as received alone: it is hidden. */
    private static final long HIDDEN = 1000;

    /** The questions that are answered, and what each may say. */
    private static final Map<String, List<String>> OPTIONS = new TreeMap<>();

    static {
        OPTIONS.put("layers", Collections.emptyList());
        OPTIONS.put("pixels", Arrays.asList("path", "window"));
        OPTIONS.put("screenshot", Arrays.asList("window", "canvas_only"));
        OPTIONS.put("rois", Arrays.asList("layer", "window"));
        OPTIONS.put("clear", Arrays.asList("window"));
        OPTIONS.put("pulse", Collections.emptyList());
        OPTIONS.put("quit", Collections.emptyList());
    }

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
    private final Map<String, Shown> images = new LinkedHashMap<>();
    private final Map<String, ImagePlus> painted = new HashMap<>();
    private final Marks marks = new Marks();
    private final List<Waiting> waiting = new ArrayList<>();
    private final Set<Shown> unopened = new HashSet<>();
    private final Timer flush, look;
    private final Object awake = new Object();
    private Receiver receiver;
    private Shown newest;
    private long begun, cost, beat, longest;

    /** {@code onQuit} ends the program; null where its user has started it, and ends it too. */
    public Fiji(boolean visible, Runnable onQuit) {
        this.visible = visible;
        this.onQuit = onQuit;
        flush = visible ? new Timer(0, event -> flush()) : null;
        look = visible ? new Timer(LOOK, event -> lookAgain()) : null;
        if (visible) flush.setRepeats(false);
        if (visible) ImagePlus.addImageListener(this); // else nobody closes them but we
    }

    public void start(String name, int port) throws Exception {
        if (!visible) {
            Thread thread = new Thread(this::flushWhenAwake, "polystore-images");
            thread.setDaemon(true);
            thread.start();
        }
        Receiver made;
        try {
            made = new Receiver(this, name, port);
        } catch (Exception error) { // its name is taken, or its port
            ImagePlus.removeImageListener(this);
            throw error;
        }
        synchronized (awake) {
            receiver = made;
        }
        wake(); // what came before this thread knew it
    }

    public Receiver receiver() {
        synchronized (awake) {
            return receiver;
        }
    }

    public void close() {
        ImagePlus.removeImageListener(this);
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
            throw new Refused("Fiji reads ROIs of encoding 'imagej' only, not '" + item.encoding + "'");
        return planner.plan(item);
    }

    @Override
    public void wake() {
        if (!due.compareAndSet(false, true)) return; // one call, however much comes until then
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
                    while (!due.get() || receiver == null) awake.wait();
                }
                flush();
                Thread.sleep(FRAME); // what comes one by one is taken together
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
        beat();
        // ImageJ tells of closed ones later, when they are empty already.
        for (Shown shown : new ArrayList<>(images.values())) if (shown.isClosed()) forget(shown);
        List<Delivery> values = new ArrayList<>();
        for (Delivery delivery : from.take()) {
            if (delivery.item != null) values.add(delivery);
            else {
                show(values); // a question is about all that came before it
                values.clear();
                answer(delivery);
            }
        }
        show(values);
        if (visible) EventQueue.invokeLater(() -> cost = System.currentTimeMillis() - begun);
    }

    /** Show values; whatever goes wrong is told to who sent them, and must not end this thread. */
    private void show(List<Delivery> values) {
        Map<String, Delivery> latest = new HashMap<>();
        for (Delivery delivery : values) latest.put(((Plan) delivery.plan).identity, delivery);
        Map<Delivery, Throwable> failed = new HashMap<>();
        Map<Shown, Delivery> touched = new LinkedHashMap<>();
        for (Delivery delivery : values) {
            if (!delivery.item.isImage) continue;
            Plan plan = (Plan) delivery.plan;
            if (latest.get(plan.identity) != delivery && !plan.restarts) delivery.pixels.release();
            else
                try {
                    Shown shown = shown(plan, delivery.item);
                    touched.put(shown, delivery);
                    shown.put(plan, delivery.item, delivery.pixels.planes);
                } catch (RuntimeException | Error error) { // such as of an ImageJ of other methods
                    failed.put(delivery, error);
                }
        }
        for (Map.Entry<Shown, Delivery> entry : touched.entrySet())
            try {
                refresh(entry.getKey());
            } catch (RuntimeException | Error error) {
                failed.putIfAbsent(entry.getValue(), error);
                if (entry.getKey().image() == null) forget(entry.getKey());
            }
        for (Delivery delivery : latest.values()) // after the images that they lie on
            if (!delivery.item.isImage)
                try {
                    mark((Plan) delivery.plan, delivery);
                } catch (Refused | RuntimeException | Error error) {
                    failed.put(delivery, error);
                }
        for (Delivery delivery : values)
            try {
                settle(delivery, latest, failed);
            } catch (RuntimeException | Error error) { // no thread for the answer, no memory
                error.printStackTrace();
            }
    }

    private Shown shown(Plan plan, Item item) {
        Shown old = images.get(plan.key);
        Shown found = old;
        boolean isOther = old != null && (plan.restarts || !old.takes(plan, item));
        // Where its user has made something else of it, he keeps it.
        if (isOther || old != null && !old.isWhole()) found = null;
        if (found == null) {
            found = new Shown(plan, item, receiver().pool(), visible);
            if (isOther) {
                found.succeed(old);
                old.close();
            }
            images.put(plan.key, found);
        }
        newest = found;
        return found;
    }

    private void refresh(Shown shown) {
        boolean isNew = shown.image() == null;
        shown.refresh();
        if (shown.image() == null) {
            forget(shown); // nothing of it could be taken
            return;
        }
        if (isNew) marks.showWaiting(shown.image());
        if (shown.isOpen()) return;
        unopened.add(shown);
        look.start();
    }

    private void mark(Plan plan, Delivery delivery) throws Refused {
        List<Roi> rois = Marks.decode(delivery.item, delivery.bytes);
        Shown below = below(delivery.item);
        ImagePlus image = below == null ? null : below.image();
        if (!delivery.item.labels) {
            marks.show(plan.key, rois, image);
            if (image != null) below.repaint();
            return;
        }
        if (image == null) throw new Refused("labels=True for ROIs needs an image: save the image first");
        ImagePlus labels = Marks.labels(plan.title + " labels", rois, image);
        ImagePlus old = painted.put(plan.key, labels);
        if (old != null) {
            ImageWindow window = old.getWindow();
            if (window != null) ImageWindow.setNextLocation(window.getLocation());
            Shown.close(old);
        }
        if (visible) labels.show();
    }

    /** Return the image of the same path, or the one that came last. */
    private Shown below(Item item) {
        Plan plan = planner.find(item.window, item.path, "image");
        Shown same = plan == null ? null : images.get(plan.key);
        return same != null ? same : newest;
    }

    private void settle(
            Delivery delivery, Map<String, Delivery> latest, Map<Delivery, Throwable> failed) {
        Plan plan = (Plan) delivery.plan;
        Throwable error = failed.get(delivery);
        if (error instanceof Refused) receiver().settle(delivery, "rejected", error.getMessage());
        else if (error != null) {
            if (!(error instanceof OutOfMemoryError)) error.printStackTrace();
            receiver().settle(delivery, "rejected", "ImageJ cannot show it: " + error);
        } else if (latest.get(plan.identity) != delivery)
            receiver().settle(delivery, "coalesced", "");
        else {
            // ROIs are painted with their image.
            Shown shown = delivery.item.isImage ? images.get(plan.key) : below(delivery.item);
            if (visible && delivery.awaited && shown != null) {
                waiting.add(new Waiting(shown, delivery));
                look.start();
            } else receiver().settle(delivery, "shown", "");
        }
    }

    /** Open windows that a macro has kept closed, and settle what was painted meanwhile. */
    private void lookAgain() {
        for (Shown shown : new ArrayList<>(unopened)) {
            if (images.get(shown.key) == shown) shown.show();
            if (shown.isOpen() || images.get(shown.key) != shown) unopened.remove(shown);
        }
        // What was painted may still be on its way to the screen.
        if (waiting.stream().anyMatch(one -> one.shown.isPainted()))
            Toolkit.getDefaultToolkit().sync();
        long late = System.currentTimeMillis() - HIDDEN;
        for (Waiting one : new ArrayList<>(waiting)) {
            Shown now = images.get(one.shown.key);
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
        // ImageJ says so of an image, too, that gets a window with another slider: a moment later
        // it has one. A closed image that a plugin works on keeps its window.
        EventQueue.invokeLater(
                () -> {
                    ImageWindow window = image.getWindow();
                    if (window == null || window.isClosed()) forget(image);
                });
    }

    private void forget(ImagePlus image) {
        for (Shown shown : new ArrayList<>(images.values()))
            if (shown.image() == image) forget(shown);
        painted.values().remove(image);
    }

    private void forget(Shown shown) {
        images.remove(shown.key, shown);
        planner.forget(shown.key);
        if (newest == shown) newest = null;
        receiver().pool().recheck();
    }

    // ── questions ─────────────────────────────────────────────────────────────────────────

    private void answer(Delivery delivery) {
        List<Array> arrays = new ArrayList<>();
        try {
            Object value = answer(delivery.query, delivery.arguments, arrays);
            receiver().answer(delivery, value, arrays);
            if (delivery.query.equals("quit")) onQuit.run();
        } catch (Refused refused) {
            receiver().settle(delivery, "rejected", refused.getMessage());
        } catch (OutOfMemoryError error) {
            String reason = "ImageJ has not enough memory left for the answer: close images";
            receiver().settle(delivery, "rejected", reason);
        } catch (RuntimeException | Error error) { // a stranger must not end ImageJ
            receiver().settle(delivery, "rejected", error.toString());
        }
    }

    private Object answer(String name, Map<String, Object> given, List<Array> arrays)
            throws Refused {
        List<String> options = OPTIONS.get(name);
        if (options == null) {
            String all = String.join(", ", OPTIONS.keySet());
            throw new Refused("Fiji does not answer '" + name + "': expected one of " + all);
        }
        for (String option : given.keySet())
            if (!options.contains(option))
                throw Refused.unknown(name + " has no option '" + option + "'", option, options);
        String window = text(given, "window");
        switch (name) {
            case "layers":
                List<Object> about = new ArrayList<>();
                for (Shown shown : images.values()) about.add(shown.describe());
                return about;
            case "pixels":
                return pixels(text(given, "path"), window, arrays);
            case "screenshot":
                boolean canvasOnly = !Boolean.FALSE.equals(given.get("canvas_only"));
                arrays.add(Images.screenshot(open(window).image(), canvasOnly));
                return null;
            case "rois":
                return rois(window, given.get("layer"), arrays);
            case "clear":
                if (window.isEmpty()) clear();
                else take(open(window));
                return null;
            case "pulse":
                beat();
                long most = longest;
                longest = 0;
                return most / 1000.0;
            case "quit":
                if (onQuit == null)
                    throw new Refused("a user started this ImageJ: close it by hand");
                return null;
            default:
                throw new AssertionError(name);
        }
    }

    private static String text(Map<String, Object> given, String name) {
        Object value = given.get(name);
        return value == null ? "" : value.toString();
    }

    private Object pixels(String path, String window, List<Array> arrays) throws Refused {
        for (String kind : Arrays.asList("image", "labels")) {
            Plan plan = planner.find(window, path, kind);
            Shown shown = plan == null ? null : images.get(plan.key);
            if (shown != null && !shown.isWhole())
                throw new Refused(
                        "'" + path + "' is no longer shown: a user has changed '"
                                + shown.image().getTitle() + "'. Save it again");
            Object[] planes = shown == null ? null : shown.pixels(plan);
            if (planes == null) continue;
            arrays.add(Images.array(planes, plan.shape, plan.dtype, plan.samples()));
            return Collections.singletonMap("original", shown.original());
        }
        Map<String, Set<String>> shown = planner.paths(images.keySet());
        if (!window.isEmpty() && !shown.containsKey(window))
            throw Refused.unknown("window '" + window + "' is not open", window, shown.keySet());
        Set<String> paths = new TreeSet<>(shown.getOrDefault(window, Collections.emptySet()));
        paths.remove(path); // other planes of its image may be shown
        throw Refused.unknown("'" + path + "' is not shown", path, paths);
    }

    /** Return ROIs, of this name unless it is null. */
    private Object rois(String window, Object layer, List<Array> arrays) throws Refused {
        Collection<Shown> among =
                window.isEmpty() ? images.values() : Collections.singleton(open(window));
        Map<Roi, String> found = new LinkedHashMap<>();
        for (Shown shown : among) if (shown.image() != null) found.putAll(Marks.of(shown.image()));
        if (layer != null) {
            Set<String> names = new TreeSet<>();
            for (Roi roi : found.keySet()) names.add(name(roi));
            if (!names.contains(layer.toString()))
                throw Refused.unknown("ROI '" + layer + "' is not shown", layer.toString(), names);
            found.keySet().removeIf(roi -> !name(roi).equals(layer.toString()));
        }
        List<Object> sources = new ArrayList<>();
        arrays.add(Marks.encode(found, sources));
        return sources;
    }

    private static String name(Roi roi) {
        return roi.getName() == null ? "" : roi.getName();
    }

    /** Return the image of a window by its title; "" is the one that came last. */
    private Shown open(String window) throws Refused {
        Set<String> titles = new TreeSet<>();
        for (Shown shown : images.values()) {
            String title = shown.image().getTitle();
            if (window.isEmpty() ? shown == newest : title.equals(window)) return shown;
            titles.add(title);
        }
        if (window.isEmpty()) throw new Refused("no image is shown");
        throw Refused.unknown("image '" + window + "' is not open", window, titles);
    }

    private void clear() {
        for (Shown shown : new ArrayList<>(images.values())) take(shown);
        planner.clear();
        for (ImagePlus labels : new ArrayList<>(painted.values())) Shown.close(labels);
        painted.clear();
        marks.clear();
    }

    /** Take an image away. */
    private void take(Shown shown) {
        forget(shown);
        shown.close();
    }

    /** Keep the longest time in which the thread of the images did nothing else. */
    private void beat() {
        long now = System.currentTimeMillis();
        if (beat > 0) longest = Math.max(longest, now - beat);
        beat = now;
    }
}
