package polystore.fiji;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.ImageStack;
import ij.WindowManager;
import ij.gui.ImageCanvas;
import ij.gui.ImageWindow;
import ij.gui.Overlay;
import ij.measure.Calibration;
import ij.process.LUT;
import java.awt.Point;
import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import polystore.fiji.Place.Coordinate;

/**
 * One image of ImageJ: a hyperstack C x Z x T that grows in its window. Planes are in the order of
 * their coordinates; those that have not come are black.
 *
 * <p>To be used in one thread: that of AWT where there are windows.
 */
final class Shown {
    private static final int MOST_SLICES = 100_000_000;

    final String key;
    final boolean labels;
    private final String title;
    private final boolean rgb;
    private final int width, height;
    private final String original;
    private final Pool pool;
    private final boolean visible;
    private final Map<Place, Object> planes = new HashMap<>();
    private final Map<Place, String> names = new HashMap<>();
    private final TreeSet<Coordinate> cs = new TreeSet<>();
    private final TreeSet<Coordinate> zs = new TreeSet<>();
    private final TreeSet<Coordinate> ts = new TreeSet<>();
    private final Map<Coordinate, LUT> given = new HashMap<>();
    private final Map<Coordinate, double[]> ranges = new HashMap<>();
    private final Map<Coordinate, String> said = new HashMap<>();
    private final Set<Coordinate> uncolored = new HashSet<>();
    private final List<String> sliders = new ArrayList<>();
    private Object blank;
    private ImagePlus image;
    private Calibration calibration;
    private boolean grown, changed, recalibrated;
    private Place last;
    private String calibrated = "";
    private int[] followed = {1, 1};
    private int[] shownSizes = {1, 1, 1};

    Shown(Plan plan, Item item, Pool pool, boolean visible) {
        key = plan.key;
        title = plan.title;
        labels = item.labels;
        rgb = item.axes.endsWith("s");
        original = item.original.isEmpty() ? item.dtype : item.original;
        int end = item.shape.length - (rgb ? 1 : 0);
        height = item.shape[end - 2];
        width = item.shape[end - 1];
        for (String[] slider : item.at) sliders.add(slider[0]);
        this.pool = pool;
        this.visible = visible;
    }

    ImagePlus image() {
        return image;
    }

    /** Whether the image is still as it was made: its user may have converted or cropped it. */
    boolean isWhole() {
        return image == null
                || (image.getWidth() == width
                        && image.getHeight() == height
                        && image.getBitDepth() == bitDepth()
                        && image.getNChannels() == shownSize(cs)
                        && image.getStackSize() == image.getNChannels() * shownSize(zs) * shownSize(ts));
    }

    private int shownSize(TreeSet<Coordinate> axis) {
        return shownSizes[axis == cs ? 0 : axis == zs ? 1 : 2];
    }

    private int bitDepth() {
        Object any = planes.values().iterator().next();
        return any instanceof byte[] ? 8 : any instanceof short[] ? 16 : any instanceof int[] ? 24 : 32;
    }

    // ── what comes ────────────────────────────────────────────────────────────────────────

    void put(Plan plan, Item item, Object[] arrays) {
        String name = item.path.substring(item.path.lastIndexOf('/') + 1);
        for (int at = 0; at < arrays.length; at++) {
            Place place = plan.places[at];
            put(place, rgb ? packed((byte[]) arrays[at], item.shape[item.shape.length - 1]) : arrays[at]);
            names.put(place, name);
            last = place;
        }
        if (!rgb) for (int at = 0; at < channels(item); at++) say(plan, item, at);
        calibrate(item);
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
            // Into the array that ImageJ has: its windows, tools and undo know no other.
            System.arraycopy(array, 0, held, 0, Array.getLength(held));
            pool.give(array);
        }
        changed = true;
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

    private static int channels(Item item) {
        int axis = item.axes.indexOf('c');
        return axis < 0 ? 1 : item.shape[axis];
    }

    /** Take up what is said of a channel: only what is said anew undoes what the user has set. */
    private void say(Plan plan, Item item, int number) {
        // Planes of channel `number`: the first one that has it.
        Coordinate c = plan.places[firstOf(item, number)].c;
        Channel channel = number < item.channels.length ? item.channels[number] : null;
        String color = item.colormap != null ? item.colormap : channel != null ? channel.color : null;
        double[] window =
                item.contrastLimits != null ? item.contrastLimits : channel != null ? channel.window : null;
        boolean isFirst = !said.containsKey(c);
        String now = color + Arrays.toString(window);
        if (now.equals(said.put(c, now))) return;
        try {
            if (color != null) given.put(c, Looks.lut(color));
        } catch (Refused error) {
            throw new IllegalStateException(error); // it was looked up when it was accepted
        }
        if (window != null) ranges.put(c, scaled(window));
        else if (isFirst) ranges.put(c, labels ? labelRange() : firstRange(plan, item, number));
        uncolored.add(c);
    }

    private static int firstOf(Item item, int number) {
        int axis = item.axes.indexOf('c');
        int inner = 1; // planes from one channel to the next
        for (int at = axis + 1; axis >= 0 && at < item.axes.indexOf('y'); at++) inner *= item.shape[at];
        return number * inner;
    }

    private double[] firstRange(Plan plan, Item item, int number) {
        return Looks.range(planes.get(plan.places[firstOf(item, number)]));
    }

    private double[] scaled(double[] window) {
        // True has become 255.
        return original.equals("|b1") ? new double[] {window[0] * 255, window[1] * 255} : window;
    }

    private double[] labelRange() {
        double most = 255;
        for (Object plane : planes.values()) most = Math.max(most, Looks.range(plane)[1]);
        return new double[] {0, most};
    }

    private void calibrate(Item item) {
        if (item.scale.length == 0 && item.units.length == 0) return;
        String now = Arrays.toString(item.scale) + Arrays.toString(item.units);
        if (now.equals(calibrated)) return;
        calibrated = now;
        calibration = new Calibration();
        for (int at = 0; at < item.axes.length() - (rgb ? 1 : 0); at++) {
            double scale = at < item.scale.length ? item.scale[at] : 1;
            String unit = at < item.units.length ? unit(item.units[at]) : null;
            switch (item.axes.charAt(at)) {
                case 'x':
                    calibration.pixelWidth = scale;
                    if (unit != null) calibration.setXUnit(unit);
                    break;
                case 'y':
                    calibration.pixelHeight = scale;
                    if (unit != null) calibration.setYUnit(unit);
                    break;
                case 'z':
                    calibration.pixelDepth = scale;
                    if (unit != null) calibration.setZUnit(unit);
                    break;
                case 't':
                    calibration.frameInterval = scale;
                    if (unit != null) calibration.setTimeUnit(unit);
                    break;
                default: // channels have no extent
            }
        }
        recalibrated = true;
    }

    /** Names of UDUNITS-2, as ImageJ writes them. */
    private static String unit(String name) {
        if (name == null) return null;
        switch (name) {
            case "micrometer":
                return "\u00b5m";
            case "nanometer":
                return "nm";
            case "millimeter":
                return "mm";
            case "centimeter":
                return "cm";
            case "meter":
                return "m";
            case "angstrom":
                return "\u00c5";
            case "second":
                return "sec";
            case "millisecond":
                return "ms";
            case "minute":
                return "min";
            case "hour":
                return "h";
            default:
                return name;
        }
    }

    // ── what is shown ─────────────────────────────────────────────────────────────────────

    /** Have ImageJ show what came since the last time. */
    void refresh() {
        if (!changed) return;
        boolean follows = image == null || isFollowing();
        Place looked = follows || image == null ? null : placeAt(image.getCurrentSlice());
        if (grown) grow();
        if (recalibrated) image.setCalibration(calibration);
        color();
        image.changes = false; // nobody is asked whether to save what can be sent again
        if (image.getWindow() == null && visible) image.show();
        if (image.getStackSize() > 1) {
            Place wanted = looked != null && planes.containsKey(looked) ? looked : last;
            follow(wanted, follows);
        }
        draw();
        grown = changed = recalibrated = false;
    }

    private void draw() {
        ImageWindow window = image.getWindow();
        if (window != null) window.getCanvas().setPaintPending(true);
        if (image instanceof CompositeImage) ((CompositeImage) image).updateAllChannelsAndDraw();
        else image.updateAndDraw();
    }

    boolean isPainted() {
        ImageWindow window = image.getWindow();
        return window == null || !window.getCanvas().getPaintPending();
    }

    private boolean isFollowing() {
        return image.getZ() == followed[0] && image.getT() == followed[1];
    }

    private void follow(Place place, boolean isNewest) {
        int z = zs.headSet(place.z, true).size();
        int t = ts.headSet(place.t, true).size();
        if (image.getZ() != z || image.getT() != t) image.setPosition(image.getC(), z, t);
        if (isNewest) followed = new int[] {z, t};
    }

    private Place placeAt(int slice) {
        int[] at = image.convertIndexToPosition(slice);
        return new Place(nth(cs, at[0]), nth(zs, at[1]), nth(ts, at[2]));
    }

    private static Coordinate nth(TreeSet<Coordinate> axis, int position) {
        for (Coordinate coordinate : axis) if (--position == 0) return coordinate;
        return axis.last();
    }

    private int index(Place place) {
        int c = cs.headSet(place.c).size();
        int z = zs.headSet(place.z).size();
        int t = ts.headSet(place.t).size();
        return (t * zs.size() + z) * cs.size() + c + 1;
    }

    private void grow() {
        if ((long) cs.size() * zs.size() * ts.size() > MOST_SLICES)
            throw new IllegalStateException(
                    cs.size() + " x " + zs.size() + " x " + ts.size() + " slices: save fewer as one image");
        ImageStack stack = stack();
        boolean composite = cs.size() > 1 && !rgb;
        if (image == null) {
            image = made(stack, composite);
            uncolored.addAll(cs);
        } else if (shownSizes[0] != cs.size()) {
            replace(stack, composite);
            uncolored.addAll(cs);
        } else if (image instanceof CompositeImage) {
            LUT[] luts = ((CompositeImage) image).getLuts();
            setStack(stack);
            ((CompositeImage) image).setLuts(luts);
        } else {
            double low = image.getDisplayRangeMin();
            double high = image.getDisplayRangeMax();
            if (!rgb) stack.setColorModel(image.getProcessor().getColorModel());
            setStack(stack);
            if (!rgb) image.setDisplayRange(low, high);
        }
        shownSizes = new int[] {cs.size(), zs.size(), ts.size()};
    }

    private void setStack(ImageStack stack) {
        ImageCanvas canvas = image.getCanvas();
        double zoom = canvas == null ? 0 : canvas.getMagnification();
        image.setOpenAsHyperStack(true);
        image.setStack(stack, cs.size(), zs.size(), ts.size());
        // A window with another slider is another one for ImageJ, which forgets how it was zoomed.
        ImageCanvas now = image.getCanvas();
        if (now != null && now != canvas && canvas != null && zoom != now.getMagnification()) {
            now.setMagnification(zoom);
            image.getWindow().pack();
        }
    }

    private ImageStack stack() {
        ImageStack stack = new ImageStack(width, height, cs.size() * zs.size() * ts.size());
        int slice = 0;
        for (Coordinate t : ts)
            for (Coordinate z : zs)
                for (Coordinate c : cs) {
                    Place place = new Place(c, z, t);
                    Object plane = planes.get(place);
                    stack.setPixels(plane != null ? plane : blank(), ++slice);
                    stack.setSliceLabel(names.get(place), slice);
                }
        return stack;
    }

    private Object blank() {
        if (blank == null) {
            Object like = planes.values().iterator().next();
            blank = Array.newInstance(like.getClass().getComponentType(), Array.getLength(like));
        }
        return blank;
    }

    private ImagePlus made(ImageStack stack, boolean composite) {
        ImagePlus plain = new ImagePlus(title, stack);
        plain.setDimensions(cs.size(), zs.size(), ts.size());
        plain.setOpenAsHyperStack(stack.getSize() > 1);
        if (calibration != null) plain.setCalibration(calibration);
        ImagePlus made = plain;
        if (composite) {
            int mode =
                    cs.size() <= CompositeImage.MAX_CHANNELS
                            ? CompositeImage.COMPOSITE
                            : CompositeImage.COLOR;
            made = new CompositeImage(plain, mode);
            made.setOpenAsHyperStack(true);
        }
        made.setProperty(
                "Info", "saved by polystore" + (original.isEmpty() ? "" : " as " + original) + "\n");
        return made;
    }

    /** ImageJ composes channels in images of a class of their own. */
    private void replace(ImageStack stack, boolean composite) {
        ImagePlus old = image;
        for (int at = 1; !rgb && at <= shownSizes[0] && old instanceof CompositeImage; at++) {
            LUT lut = ((CompositeImage) old).getChannelLut(at);
            ranges.put(nth(cs, at), new double[] {lut.min, lut.max});
        }
        Point location = old.getWindow() == null ? null : old.getWindow().getLocation();
        Overlay overlay = old.getOverlay();
        image = made(stack, composite);
        image.setOverlay(overlay);
        old.changes = false;
        old.close();
        if (location != null) ImageWindow.setNextLocation(location);
    }

    private void color() {
        if (rgb) return;
        int number = 0;
        for (Coordinate c : cs) {
            number++;
            if (!uncolored.remove(c)) continue;
            LUT lut = given.get(c);
            if (lut == null)
                lut = labels ? Looks.labels() : cs.size() > 1 ? Looks.channel(number - 1) : Looks.gray();
            double[] range = ranges.get(c);
            lut = (LUT) lut.clone();
            if (range != null) {
                lut.min = range[0];
                lut.max = range[1];
            }
            if (image instanceof CompositeImage) ((CompositeImage) image).setChannelLut(lut, number);
            else {
                image.setLut(lut);
                image.setDisplayRange(lut.min, lut.max);
            }
        }
    }

    /** Take the image away. */
    void close() {
        ImagePlus closed = image;
        image = null;
        if (closed == null) return;
        closed.changes = false;
        closed.close();
        if (closed == WindowManager.getTempCurrentImage()) WindowManager.setTempCurrentImage(null);
    }

    // ── what is asked ─────────────────────────────────────────────────────────────────────

    /** Return the planes of a value as ImageJ holds them, or null if some are not there. */
    Object[] pixels(Plan plan) {
        Object[] found = new Object[plan.places.length];
        for (int at = 0; at < found.length; at++) {
            if (!planes.containsKey(plan.places[at]) || image == null) return null;
            found[at] = image.getStack().getPixels(index(plan.places[at]));
        }
        return found;
    }

    String original() {
        return original;
    }

    /** Return what a person sees of it, as ImageJ tells. */
    Map<String, Object> describe() {
        Map<String, Object> about = Images.describe(image);
        about.put("type", labels ? "labels" : "image");
        about.put("original", original);
        about.put("sliders", sliders);
        List<Object> coordinates = new ArrayList<>();
        for (TreeSet<Coordinate> axis : Arrays.asList(ts, zs, cs)) {
            List<String> texts = new ArrayList<>();
            for (Coordinate coordinate : axis) texts.add(coordinate.toString());
            coordinates.add(texts);
        }
        about.put("coordinates", coordinates);
        return about;
    }
}
