package polystore.fiji.imagej;

import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import polystore.fiji.imagej.Place.Coordinate;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Refused;

/**
 * Decide which image and planes a value goes to, before its pixels are sent. If it does not fit,
 * the save that sent it raises the error.
 *
 * <p>ImageJ has three axes besides y and x. Channels are C. A slider "z" and an axis z of the
 * array, are Z. All other sliders, and an axis t, share T, the outermost first.
 */
final class Planner {
    // Locks: the lock of this object guards outlines, spots and plans.

    /** The content of an image, including values that were accepted and have not come yet. */
    private static final class Outline {
        final String sliders, axes, dtype;
        final int[] shape;
        final Set<String> held = new HashSet<>();
        private final Set<Coordinate> cs = new HashSet<>();
        private final Set<Coordinate> zs = new HashSet<>();
        private final Set<Coordinate> ts = new HashSet<>();

        Outline(String sliders, Item item) {
            this.sliders = sliders;
            axes = item.axes;
            shape = item.shape;
            dtype = item.dtype;
        }

        boolean fits(Outline other) {
            return sliders.equals(other.sliders)
                    && axes.equals(other.axes)
                    && dtype.equals(other.dtype)
                    && Arrays.equals(shape, other.shape);
        }

        /** Remember a value. Refuse it if the image would have too many slices, including holes. */
        void take(Planes planes, String at) throws Refused {
            long c = sizeWith(cs, planes.cs);
            long z = sizeWith(zs, planes.zs);
            long t = sizeWith(ts, planes.ts);
            if (c > MOST_CHANNELS || c * z * t > MOST_SLICES)
                throw new Refused(
                        String.format(
                                "the image would have %d channels x %d z x %d t, but polystore"
                                    + " shows at most %d slices and %d channels in an image of"
                                    + " ImageJ: save several images, with"
                                    + " layout=Layout(layer=...)",
                                c, z, t, MOST_SLICES, MOST_CHANNELS));
            Collections.addAll(cs, planes.cs);
            Collections.addAll(zs, planes.zs);
            Collections.addAll(ts, planes.ts);
            held.add(at);
        }

        private static long sizeWith(Set<Coordinate> known, Coordinate[] more) {
            long size = known.size();
            for (Coordinate coordinate : more) if (!known.contains(coordinate)) size++;
            return size;
        }

        @Override
        public String toString() {
            return dtype + " of shape " + Arrays.toString(shape) + ", axes " + axes;
        }
    }

    /** The image of a path, or its set of ROIs, and the place there. */
    static final class Spot {
        final String key, title, channel;
        final String[][] at;

        Spot(String key, String title, String channel, String[][] at) {
            this.key = key;
            this.title = title;
            this.channel = channel;
            this.at = at;
        }
    }

    /** The planes of a value: all combinations of its coordinates, if they are not too many. */
    private static final class Planes {
        final Coordinate[] cs, zs, ts;

        Planes(Item item, Spot spot) throws Refused {
            if (item.channelCount() > MOST_CHANNELS)
                throw new Refused(
                        "the image has " + item.channelCount() + " channels, but polystore shows"
                                + " at most " + MOST_CHANNELS + " in an image of ImageJ: save a"
                                + " part, or give axes= with z or t for the longest axis");
            if (item.planes > MOST_SLICES)
                throw new Refused(
                        String.format(
                                "shape %s has %d planes, but polystore shows at most %d in an"
                                    + " image of ImageJ: save a part, or order the axes so that"
                                    + " the two longest are last",
                                Arrays.toString(item.shape), item.planes, MOST_SLICES));
            Coordinate c = new Coordinate();
            Coordinate z = new Coordinate();
            Coordinate t = new Coordinate();
            // A hyperstack of RGB planes does not have channels.
            if (!spot.channel.isEmpty() && item.axes.endsWith("s")) t = t.with(spot.channel);
            else if (!spot.channel.isEmpty()) c = c.with(spot.channel);
            for (String[] slider : spot.at) {
                if (slider[0].equals("z")) z = z.with(slider[1]);
                else t = t.with(slider[1]);
            }
            cs = along(item, 'c', c);
            zs = along(item, 'z', z);
            ts = along(item, 't', t);
        }

        private static Coordinate[] along(Item item, char name, Coordinate start) {
            int axis = item.axes.indexOf(name);
            if (axis < 0) return new Coordinate[] {start};
            Coordinate[] found = new Coordinate[item.shape[axis]];
            for (int at = 0; at < found.length; at++) found[at] = start.with(Integer.toString(at));
            return found;
        }

        /** Places in the order of the payload, whose axes are always t, c, z. */
        Place[] places() {
            Place[] found = new Place[cs.length * zs.length * ts.length];
            int at = 0;
            for (Coordinate t : ts)
                for (Coordinate c : cs) for (Coordinate z : zs) found[at++] = new Place(c, z, t);
            return found;
        }
    }

    /** More would keep ImageJ busy for seconds at every new slice. */
    private static final long MOST_SLICES = 250_000;

    /** Each channel has a lookup table of more than a kilobyte. */
    private static final long MOST_CHANNELS = 10_000;

    /** Characters. Longer names of files, channels and windows are cut for the screen. */
    private static final int LONGEST_NAME = 255;

    private final Map<String, Outline> outlines = new HashMap<>();
    private final Map<String, Spot> spots = new HashMap<>();
    private final Map<String, Plan> plans = new HashMap<>();

    static String key(String... parts) {
        return String.join("\0", parts);
    }

    static String kind(Item item) {
        return !item.isImage ? "rois" : item.labels ? "labels" : "image";
    }

    static String shortened(String name) {
        return name.codePointCount(0, name.length()) <= LONGEST_NAME
                ? name
                : name.substring(0, name.offsetByCodePoints(0, LONGEST_NAME));
    }

    synchronized Plan plan(Item item) throws Refused {
        String path = key(item.window, item.path, kind(item));
        Spot spot = spot(item, path);
        Plan plan =
                item.isImage
                        ? imagePlan(item, spot)
                        : new Plan(spot, new Place[0], false, path, item);
        spots.put(path, spot);
        plans.put(path, plan);
        return plan;
    }

    /** Return where the value of a path went last, or null. */
    synchronized Plan find(String window, String path, String kind) {
        return plans.get(key(window, path, kind));
    }

    /** Return the paths of each window whose values are in images of these keys. */
    synchronized Map<String, Set<String>> paths(Set<String> shown) {
        Map<String, Set<String>> found = new TreeMap<>();
        for (Map.Entry<String, Plan> entry : plans.entrySet()) {
            String[] parts = entry.getKey().split("\0", -1);
            if (shown.contains(entry.getValue().key))
                found.computeIfAbsent(parts[0], window -> new TreeSet<>()).add(parts[1]);
        }
        return found;
    }

    /** Forget an image that was closed. The next value for it makes a new one. */
    synchronized void forget(String key) {
        outlines.remove(key);
    }

    /** Forget all images and paths. */
    synchronized void clear() {
        outlines.clear();
        spots.clear();
        plans.clear();
    }

    private Spot spot(Item item, String path) {
        if (item.layer != null) {
            boolean isChannel = !item.group.isEmpty();
            String own = isChannel ? item.group : item.layer;
            String title = isChannel ? item.groupTitle : item.title;
            if (!item.window.isEmpty()) title = item.window + " " + title;
            return new Spot(
                    key(item.window, own, kind(item)), shortened(title), item.channel, item.at);
        }
        // If a path was part of a series and is saved alone now, update it where it is.
        Spot known = spots.get(path);
        return known != null ? known : new Spot(key("path", path), shortened(item.title), "", item.at);
    }

    private Plan imagePlan(Item item, Spot spot) throws Refused {
        checkType(item);
        StringBuilder sliders = new StringBuilder();
        StringBuilder at = new StringBuilder(spot.channel);
        for (String[] slider : spot.at) {
            sliders.append(slider[0]).append('\0');
            at.append('\0').append(slider[1]);
        }
        Outline made = new Outline(sliders.toString(), item);
        Outline old = outlines.get(spot.key);
        boolean restarts = old != null && !old.fits(made);
        boolean replaces = old != null && old.held.contains(at.toString());
        if (restarts && !(replaces && item.series >= old.held.size()))
            throw new Refused(
                    String.format(
                            "it is %s, but image '%s' holds %d of %s: save it under another name"
                                    + " or with labels=True, to show it in another image. Or save"
                                    + " all %d as one batch, or close the image",
                            made, spot.title, old.held.size(), old, old.held.size()));
        Planes planes = new Planes(item, spot);
        Outline outline = old == null || restarts ? made : old;
        outline.take(planes, at.toString());
        outlines.put(spot.key, outline);
        String identity = key(spot.key, at.toString());
        return new Plan(spot, planes.places(), restarts, identity, item);
    }

    private static void checkType(Item item) throws Refused {
        boolean isRgb = item.axes.endsWith("s");
        List<String> known = isRgb ? Arrays.asList("|u1") : Arrays.asList("|u1", "<u2", "<f4");
        if (!known.contains(item.dtype))
            throw new Refused(
                    "ImageJ has no " + (isRgb ? "RGB " : "") + "pixels of " + item.dtype
                            + ": expected uint8, uint16, float32, or RGB of uint8");
        int last = item.shape.length - (isRgb ? 2 : 1);
        if ((long) item.shape[last] * item.shape[last - 1] > Integer.MAX_VALUE - 8)
            throw new Refused(
                    "a plane has " + item.shape[last - 1] + " x " + item.shape[last]
                            + " pixels, but ImageJ shows at most 2147483639");
    }
}
