package polystore.fiji;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import polystore.fiji.Place.Coordinate;

/**
 * Which image and planes a value goes to, decided before its pixels travel: what does not fit is
 * the error of the save that sent it.
 *
 * <p>ImageJ has three axes beside y and x. Channels are C. A slider "z", and an axis z of the
 * array, are Z. All other sliders, and an axis t, share T, the outermost first.
 */
final class Planner {
    /** What an image holds, and will hold when all that was accepted has come. */
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

        /** Remember what comes; refuse what would make too many slices, holes among them. */
        void take(Place[] places, String at) throws Refused {
            Set<Coordinate> newCs = new HashSet<>();
            Set<Coordinate> newZs = new HashSet<>();
            Set<Coordinate> newTs = new HashSet<>();
            for (Place place : places) {
                if (!cs.contains(place.c)) newCs.add(place.c);
                if (!zs.contains(place.z)) newZs.add(place.z);
                if (!ts.contains(place.t)) newTs.add(place.t);
            }
            long c = cs.size() + newCs.size();
            long z = zs.size() + newZs.size();
            long t = ts.size() + newTs.size();
            if (c * z * t > MOST_SLICES)
                throw new Refused(
                        String.format(
                                "%d channels x %d z x %d t, all combinations of what has come,"
                                    + " is more than the %d slices that an image of ImageJ may"
                                    + " have here: save several, with layout=Layout(layer=...)",
                                c, z, t, MOST_SLICES));
            cs.addAll(newCs);
            zs.addAll(newZs);
            ts.addAll(newTs);
            held.add(at);
        }

        @Override
        public String toString() {
            return dtype + " of shape " + Arrays.toString(shape) + ", axes " + axes;
        }
    }

    private static final class Spot {
        final String key, title, channel;
        final String[][] at;

        Spot(String key, String title, String channel, String[][] at) {
            this.key = key;
            this.title = title;
            this.channel = channel;
            this.at = at;
        }
    }

    /** More would keep ImageJ busy for seconds, whenever one comes. */
    private static final long MOST_SLICES = 250_000;

    private final Map<String, Outline> outlines = new HashMap<>();
    private final Map<String, Spot> spots = new HashMap<>();
    private final Map<String, Plan> plans = new HashMap<>();

    static String key(String... parts) {
        return String.join("\0", parts);
    }

    static String kind(Item item) {
        return !item.isImage ? "rois" : item.labels ? "labels" : "image";
    }

    synchronized Plan plan(Item item) throws Refused {
        String path = key(item.window, item.path, kind(item));
        Spot spot = spot(item, path);
        Plan plan =
                item.isImage
                        ? imagePlan(item, spot)
                        : new Plan(spot.key, spot.title, new Place[0], false, path, item);
        spots.put(path, spot);
        plans.put(path, plan);
        return plan;
    }

    /** Return where the value of a path went last, or null. */
    synchronized Plan find(String window, String path, String kind) {
        return plans.get(key(window, path, kind));
    }

    /** An image is gone: what comes for it makes a new one. */
    synchronized void forget(String key) {
        outlines.remove(key);
    }

    /** Everything is gone: paths stand nowhere any more. */
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
            return new Spot(key(item.window, own, kind(item)), title, item.channel, item.at);
        }
        // A path that came with a series, and is saved alone now, is updated where it stands.
        Spot known = spots.get(path);
        return known != null ? known : new Spot(key("path", path), item.title, "", item.at);
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
                            "%s, where image '%s' holds %d of %s: save it under another name or"
                                    + " with labels=True, for an image of its own, or all %d as one"
                                    + " batch; or close the image",
                            made, spot.title, old.held.size(), old, old.held.size()));
        Place[] places = places(item, spot);
        Outline outline = old == null || restarts ? made : old;
        outline.take(places, at.toString());
        outlines.put(spot.key, outline);
        String title = item.labels ? spot.title + " labels" : spot.title;
        return new Plan(spot.key, title, places, restarts, key(spot.key, at.toString()), item);
    }

    private static void checkType(Item item) throws Refused {
        boolean isRgb = item.axes.endsWith("s");
        List<String> known = isRgb ? Arrays.asList("|u1") : Arrays.asList("|u1", "<u2", "<f4");
        if (!known.contains(item.dtype))
            throw new Refused(
                    "ImageJ has no " + (isRgb ? "RGB " : "") + "pixels of " + item.dtype
                            + ": it has uint8, uint16, float32, and RGB of uint8");
        int last = item.shape.length - (isRgb ? 2 : 1);
        if ((long) item.shape[last] * item.shape[last - 1] > Integer.MAX_VALUE - 8)
            throw new Refused(
                    item.shape[last - 1] + " x " + item.shape[last]
                            + " pixels: a plane of ImageJ has 2147483639 at most");
    }

    private static Place[] places(Item item, Spot spot) {
        boolean isRgb = item.axes.endsWith("s");
        Coordinate c = new Coordinate();
        Coordinate z = new Coordinate();
        Coordinate t = new Coordinate();
        // A hyperstack of RGB planes has no channels.
        if (!spot.channel.isEmpty() && isRgb) t = t.with(spot.channel);
        else if (!spot.channel.isEmpty()) c = c.with(spot.channel);
        for (String[] slider : spot.at) {
            if (slider[0].equals("z")) z = z.with(slider[1]);
            else t = t.with(slider[1]);
        }
        List<Place> places = new ArrayList<>();
        places.add(new Place(c, z, t));
        for (int axis = 0; axis < item.axes.indexOf('y'); axis++) {
            List<Place> inner = new ArrayList<>();
            for (Place place : places)
                for (int index = 0; index < item.shape[axis]; index++) {
                    String text = Integer.toString(index);
                    char name = item.axes.charAt(axis);
                    inner.add(
                            new Place(
                                    name == 'c' ? place.c.with(text) : place.c,
                                    name == 'z' ? place.z.with(text) : place.z,
                                    name == 't' ? place.t.with(text) : place.t));
                }
            places = inner;
        }
        return places.toArray(new Place[0]);
    }
}
