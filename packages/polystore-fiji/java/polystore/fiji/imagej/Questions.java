package polystore.fiji.imagej;

import ij.gui.Roi;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import polystore.fiji.transport.Array;
import polystore.fiji.transport.Refused;

/** Answer queries about the screen. Only the thread of the images uses it. */
final class Questions {
    /** The known queries, and the options of each. */
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

    private final Screen screen;
    private final Pulse pulse;
    private final boolean quits;

    /** {@code quits}: whether a pipeline may end this ImageJ. */
    Questions(Screen screen, Pulse pulse, boolean quits) {
        this.screen = screen;
        this.pulse = pulse;
        this.quits = quits;
    }

    /** Return a JSON value, and append arrays. */
    Object answer(String name, Map<String, Object> given, List<Array> arrays) throws Refused {
        check(name, given.keySet());
        String window = text(given, "window");
        switch (name) {
            case "layers":
                List<Object> about = new ArrayList<>();
                for (Shown shown : screen.images()) about.add(shown.describe());
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
                if (window.isEmpty()) screen.clear();
                else screen.take(open(window));
                return null;
            case "pulse":
                return pulse.take();
            case "quit":
                if (!quits) throw new Refused("a user started this ImageJ: close it by hand");
                return null;
            default:
                throw new AssertionError(name);
        }
    }

    private static void check(String name, Set<String> given) throws Refused {
        List<String> options = OPTIONS.get(name);
        if (options == null) {
            String all = String.join(", ", OPTIONS.keySet());
            throw new Refused("Fiji does not answer '" + name + "': expected one of " + all);
        }
        for (String option : given)
            if (!options.contains(option))
                throw Refused.unknown("option", option, "valid for " + name, options);
    }

    private static String text(Map<String, Object> given, String name) {
        Object value = given.get(name);
        return value == null ? "" : value.toString();
    }

    private Object pixels(String path, String window, List<Array> arrays) throws Refused {
        for (String kind : Arrays.asList("image", "labels")) {
            Plan plan = screen.find(window, path, kind);
            Shown shown = plan == null ? null : screen.image(plan.key);
            if (shown != null && !shown.isWhole())
                throw new Refused(
                        "'" + path + "' is no longer shown: a user has changed '"
                                + shown.image().getTitle() + "'. Save it again");
            Object[] planes = shown == null ? null : shown.pixels(plan);
            if (planes == null) continue;
            arrays.add(Images.array(planes, plan.shape, plan.dtype, plan.samples()));
            Map<String, Object> about = new LinkedHashMap<>();
            about.put("original", plan.original);
            about.put("axes", plan.axes);
            about.put("words", plan.words);
            about.put("changes", shown.edits(plan));
            return about;
        }
        Map<String, Set<String>> shown = screen.paths();
        if (!window.isEmpty() && !shown.containsKey(window))
            throw Refused.unknown("window", window, "open", shown.keySet());
        Set<String> paths = new TreeSet<>(shown.getOrDefault(window, Collections.emptySet()));
        paths.remove(path); // its image may show other planes
        throw Refused.unknown("path", path, "shown", paths);
    }

    /** Return the sources of ROIs with this name, or of all if it is null. */
    private Object rois(String window, Object layer, List<Array> arrays) throws Refused {
        Collection<Shown> among =
                window.isEmpty() ? screen.images() : Collections.singleton(open(window));
        Map<Roi, String> found = new LinkedHashMap<>();
        for (Shown shown : among) if (shown.image() != null) found.putAll(Marks.of(shown.image()));
        if (layer != null) {
            Set<String> names = new TreeSet<>();
            for (Roi roi : found.keySet()) names.add(name(roi));
            if (!names.contains(layer.toString()))
                throw Refused.unknown("ROI", layer.toString(), "shown", names);
            found.keySet().removeIf(roi -> !name(roi).equals(layer.toString()));
        }
        List<Object> sources = new ArrayList<>();
        arrays.add(Marks.encode(found, sources));
        return sources;
    }

    private static String name(Roi roi) {
        return roi.getName() == null ? "" : roi.getName();
    }

    /** Return the image of a window by its title. "" is the newest one. */
    private Shown open(String window) throws Refused {
        Set<String> titles = new TreeSet<>();
        for (Shown shown : screen.images()) {
            String title = shown.image().getTitle();
            if (window.isEmpty() ? shown == screen.newest() : title.equals(window)) return shown;
            titles.add(title);
        }
        if (window.isEmpty()) throw new Refused("no image is shown");
        throw Refused.unknown("image", window, "open", titles);
    }
}
