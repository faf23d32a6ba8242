package polystore.fiji.imagej;

import ij.CompositeImage;
import ij.IJ;
import ij.ImagePlus;
import ij.ImageStack;
import ij.WindowManager;
import ij.gui.ImageWindow;
import ij.macro.Interpreter;
import ij.measure.Calibration;
import ij.process.ImageProcessor;
import ij.process.LUT;
import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import polystore.fiji.imagej.Place.Coordinate;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Pool;

/**
 * One image of ImageJ: a hyperstack C x Z x T that grows in its window. Planes are in the order of
 * their coordinates. Missing planes are black.
 *
 * <p>Only one thread may use it: that of AWT if there are windows.
 */
final class Shown {
    final String key;
    final boolean labels;
    private final String title;
    private final boolean rgb;
    private final int width, height;
    private final String dtype, original;
    private final Pool pool;
    private final boolean visible;
    private final List<String> sliders = new ArrayList<>();
    private final Map<Place, Object> planes = new HashMap<>();
    private final Map<Place, String> names = new HashMap<>();
    private final Axis cs = new Axis(), zs = new Axis(), ts = new Axis();
    /** Place and array of each slice that ImageJ has. Holes do not have an array. */
    private Place[] slots = {};
    private Object[] held = {};
    private Object blank;
    private ImagePlus image;
    private final ChannelLooks looks;
    private String calibrated = "";
    private Calibration calibration;
    private boolean grown, changed, recalibrated, hasOpened;
    private Place last, followed;
    private final Pane pane = new Pane();

    Shown(Plan plan, Item item, Pool pool, boolean visible) {
        key = plan.key;
        title = plan.name();
        labels = item.labels;
        rgb = item.axes.endsWith("s");
        dtype = item.dtype;
        original = plan.original;
        int end = item.shape.length - (rgb ? 1 : 0);
        height = item.shape[end - 2];
        width = item.shape[end - 1];
        looks = new ChannelLooks(labels, original, width, height);
        for (String[] slider : plan.at) sliders.add(slider[0]);
        this.pool = pool;
        this.visible = visible;
    }

    /** Replace an image on the screen, and take over its overlay. */
    void succeed(Shown old) {
        if (old.image != null) pane.inherit(old.pane, old.image, width, height);
    }

    ImagePlus image() {
        return image;
    }

    /** Whether the planes of an item have the same size and type. */
    boolean takes(Plan plan, Item item) {
        int end = item.shape.length - (rgb ? 1 : 0);
        return item.dtype.equals(dtype)
                && item.axes.endsWith("s") == rgb
                && item.shape[end - 2] == height
                && item.shape[end - 1] == width;
    }

    /** Whether the image still has its size and type: its user may have converted or cropped it. */
    boolean isWhole() {
        return image == null
                || (image.getWidth() == width
                        && image.getHeight() == height
                        && image.getBitDepth() == bitDepth()
                        && image.getNChannels() == cs.size()
                        && image.getStackSize() == slots.length);
    }

    private int bitDepth() {
        return rgb ? 24 : dtype.equals("|u1") ? 8 : dtype.equals("<u2") ? 16 : 32;
    }

    // ── planes ────────────────────────────────────────────────────────────────────────────

    void put(Plan plan, Item item, Object[] arrays) {
        if (!changed) adopt();
        String[] labels = sliceLabels(item);
        int inner = item.channelStep();
        for (int at = 0; at < arrays.length; at++) {
            Place place = plan.places[at];
            if (rgb) put(place, packed((byte[]) arrays[at], plan.samples()));
            else put(place, arrays[at]);
            names.put(place, labels[at / inner % labels.length]);
            last = place;
        }
        if (!rgb) looks.say(plan, item, planes);
        calibrate(item);
        pane.bar().ask(item.scaleBar);
    }

    /** Return the label of a slice for each channel: the label of the channel and the file's name. */
    private static String[] sliceLabels(Item item) {
        String name = Planner.shortened(item.path.substring(item.path.lastIndexOf('/') + 1));
        String[] labels = new String[item.channelCount()];
        Arrays.fill(labels, name);
        for (int number = 0; number < item.channels.length; number++) {
            String label = item.channels[number].name;
            if (!label.isEmpty()) labels[number] = Planner.shortened(label) + ": " + name;
        }
        return labels;
    }

    private void put(Place place, Object array) {
        Object held = planes.get(place);
        if (held == null) {
            planes.put(place, array);
            cs.add(place.c);
            zs.add(place.z);
            ts.add(place.t);
            grown = true;
        } else {
            // Copy into ImageJ's own array, which its windows, tools and undo use.
            System.arraycopy(array, 0, held, 0, Array.getLength(held));
            pool.give(array);
        }
        changed = true;
    }

    /** Read the arrays of ImageJ's slices, because its undo exchanges them. */
    private void adopt() {
        if (image == null || !isWhole()) return;
        Set<Object> known = null;
        ImageStack stack = image.getStack();
        Object current = image.getProcessor().getPixels();
        for (int slice = 1; slice <= held.length; slice++) {
            Object mine = held[slice - 1];
            Object now = slice == image.getCurrentSlice() ? current : stack.getPixels(slice);
            if (mine == null || mine == now) continue;
            if (known == null) {
                known = Collections.newSetFromMap(new IdentityHashMap<>());
                known.addAll(Arrays.asList(held));
            }
            if (known.contains(now)) continue; // the user has sorted the slices
            held[slice - 1] = now;
            planes.put(slots[slice - 1], now);
        }
    }

    private int[] packed(byte[] samples, int count) {
        int[] pixels = (int[]) pool.take('I', width * height);
        for (int at = 0, from = 0; at < pixels.length; at++, from += count) {
            int alpha = count == 4 ? samples[from + 3] << 24 : 0xff000000;
            pixels[at] =
                    alpha
                            | (samples[from] & 0xff) << 16
                            | (samples[from + 1] & 0xff) << 8
                            | samples[from + 2] & 0xff;
        }
        pool.give(samples);
        return pixels;
    }

    private void calibrate(Item item) {
        if (item.scale.length == 0 && item.units.length == 0) return;
        String now = Arrays.toString(item.scale) + Arrays.toString(item.units);
        if (now.equals(calibrated)) return;
        calibrated = now;
        calibration = Scale.of(item);
        recalibrated = true;
    }

    // ── the screen ────────────────────────────────────────────────────────────────────────

    /** Make ImageJ show the planes that came since the last call. */
    void refresh() {
        if (!changed) return;
        Place looked = image == null ? null : slots[image.getCurrentSlice() - 1];
        boolean follows =
                looked == null || looked.z.equals(followed.z) && looked.t.equals(followed.t);
        if (grown) grow();
        if (recalibrated) image.setCalibration(calibration);
        if (!rgb) looks.tell(image, cs.coordinates());
        image.changes = false; // do not ask whether to save: it can be sent again
        show();
        if (follows) followed = last;
        if (slots.length > 1) look(looked, follows ? last : looked);
        draw();
        grown = changed = recalibrated = false;
    }

    /** Open its window, or open it later if a macro keeps all windows closed. */
    void show() {
        if (isOpen() || IJ.isMacro() && Interpreter.isBatchMode()) return;
        pane.open(image);
        hasOpened = true;
    }

    /** Whether its user has closed it. Then ImageJ has emptied it. */
    boolean isClosed() {
        if (image == null || !hasOpened) return false;
        ImageWindow window = image.getWindow();
        return window == null || window.isClosed();
    }

    boolean isOpen() {
        return !visible || image == null || image.getWindow() != null;
    }

    private void draw() {
        // If a macro changes the slice while AWT paints, ImageJ keeps a picture of the old
        // slice, which it paints until the pixels are set again (ByteProcessor has no lock).
        ImageProcessor processor = image.getProcessor();
        processor.setPixels(processor.getPixels());
        ImageWindow window = image.getWindow();
        if (window != null) window.getCanvas().setPaintPending(true);
        image.updateAndDraw(); // updateAllChannelsAndDraw would give all channels one range
    }

    /** Paint the overlay again. */
    void repaint() {
        ImageWindow window = image.getWindow();
        if (window != null) window.getCanvas().setPaintPending(true);
        image.draw();
    }

    boolean isPainted() {
        if (image == null) return false;
        ImageWindow window = image.getWindow();
        return isOpen() && (window == null || !window.getCanvas().getPaintPending());
    }

    private void look(Place looked, Place at) {
        int c = looked == null ? image.getC() : cs.position(looked.c);
        int z = zs.position(at.z);
        int t = ts.position(at.t);
        if (image.getC() != c || image.getZ() != z || image.getT() != t) image.setPosition(c, z, t);
    }

    private void grow() {
        boolean isNew = image == null;
        boolean isRemade = !isNew && cs.isGrown();
        if (isRemade && !rgb) looks.keep(image, cs.coordinates());
        for (Axis axis : Arrays.asList(cs, zs, ts)) axis.grow();
        ImageStack stack = stack();
        if (isNew) image = made(stack, title);
        else if (isRemade) remake(stack);
        else if (image instanceof CompositeImage) {
            LUT[] luts = ((CompositeImage) image).getLuts();
            pane.setStack(image, stack, cs.size(), zs.size(), ts.size());
            ((CompositeImage) image).setLuts(luts);
        } else {
            double low = image.getDisplayRangeMin();
            double high = image.getDisplayRangeMax();
            if (!rgb) stack.setColorModel(image.getProcessor().getColorModel());
            pane.setStack(image, stack, cs.size(), zs.size(), ts.size());
            if (!rgb) image.setDisplayRange(low, high);
        }
    }

    private ImageStack stack() {
        int count = cs.size() * zs.size() * ts.size();
        ImageStack stack =
                labels
                        ? new LabelStack(width, height, count)
                        : new ImageStack(width, height, count);
        Place[] places = new Place[count];
        Object[] arrays = new Object[count];
        int slice = 0;
        for (Coordinate t : ts.coordinates())
            for (Coordinate z : zs.coordinates())
                for (Coordinate c : cs.coordinates()) {
                    Place place = places[slice] = new Place(c, z, t);
                    Object plane = arrays[slice] = planes.get(place);
                    stack.setPixels(plane != null ? plane : blank(), ++slice);
                    stack.setSliceLabel(names.get(place), slice);
                }
        slots = places;
        held = arrays;
        return stack;
    }

    private Object blank() {
        if (blank == null) {
            Object like = planes.values().iterator().next();
            blank = Array.newInstance(like.getClass().getComponentType(), Array.getLength(like));
        }
        return blank;
    }

    private ImagePlus made(ImageStack stack, String title) {
        ImagePlus plain = new Pane.Plain(title, stack);
        plain.setDimensions(cs.size(), zs.size(), ts.size());
        plain.setOpenAsHyperStack(stack.getSize() > 1);
        if (calibration != null) plain.setCalibration(calibration);
        ImagePlus made = plain;
        if (cs.size() > 1 && !rgb && !labels) { // colours of labels must not be added
            boolean few = cs.size() <= CompositeImage.MAX_CHANNELS;
            int mode = few ? CompositeImage.COMPOSITE : CompositeImage.COLOR;
            made = new Pane.Composite(plain, mode);
            made.setOpenAsHyperStack(true);
        }
        pane.dress(made);
        made.setProperty("Info", "saved by polystore as " + original + "\n");
        return made;
    }

    /** ImageJ composes channels in another class of images, with a fixed number of channels. */
    private void remake(ImageStack stack) {
        ImagePlus old = image;
        pane.inherit(old, width, height);
        image = made(stack, old.getTitle());
        image.setCalibration(old.getCalibration());
        if (old instanceof CompositeImage && cs.size() <= CompositeImage.MAX_CHANNELS)
            ((CompositeImage) image).setMode(((CompositeImage) old).getMode());
        hasOpened = false;
        close(old);
    }

    /** Remove the image. */
    void close() {
        ImagePlus closed = image;
        image = null;
        if (closed != null) close(closed);
    }

    /** Close an image without asking its user whether to save it or its points. */
    static void close(ImagePlus image) {
        image.changes = false;
        image.deleteRoi();
        image.close();
        if (image == WindowManager.getTempCurrentImage()) WindowManager.setTempCurrentImage(null);
    }

    // ── queries ───────────────────────────────────────────────────────────────────────────

    /** Return the planes of a value as ImageJ holds them, or null if some are missing. */
    Object[] pixels(Plan plan) {
        adopt();
        Object[] found = new Object[plan.places.length];
        for (int at = 0; at < found.length; at++) {
            found[at] = planes.get(plan.places[at]);
            if (found[at] == null || image == null) return null;
        }
        return found;
    }

    /** Return the user's changes since a value was saved, as metadata of its image. */
    Map<String, Object> edits(Plan plan) {
        Map<String, Object> edits = new LinkedHashMap<>();
        Calibration said = calibration == null ? new Calibration() : calibration;
        List<Object> axes = Scale.edits(plan.axes, said, image.getCalibration());
        if (axes.stream().anyMatch(axis -> ((Map<?, ?>) axis).size() > 1)) edits.put("axes", axes);
        Set<Coordinate> own = new LinkedHashSet<>();
        for (Place place : plan.places) own.add(place.c);
        List<Map<String, Object>> channels =
                rgb || labels ? Collections.emptyList() : looks.edits(image, cs, own);
        if (channels.stream().anyMatch(channel -> !channel.isEmpty())) edits.put("channels", channels);
        if (!image.getTitle().equals(title)) edits.put("name", image.getTitle());
        return edits;
    }

    /** Return its description from ImageJ. */
    Map<String, Object> describe() {
        Map<String, Object> about = Images.describe(image);
        about.put("type", labels ? "labels" : "image");
        about.put("original", original);
        about.put("sliders", sliders);
        List<Object> coordinates = new ArrayList<>();
        for (Axis axis : Arrays.asList(ts, zs, cs)) coordinates.add(axis.texts());
        about.put("coordinates", coordinates);
        return about;
    }
}
