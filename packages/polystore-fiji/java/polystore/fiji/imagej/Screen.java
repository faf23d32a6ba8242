package polystore.fiji.imagej;

import ij.ImagePlus;
import ij.gui.ImageWindow;
import ij.gui.Roi;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import polystore.fiji.transport.Delivery;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Pool;
import polystore.fiji.transport.Refused;

/**
 * Everything of pipelines that ImageJ shows: images, ROIs, and label images that were painted
 * from ROIs. Only the thread of the images uses it.
 */
final class Screen {
    private final Planner planner;
    private final Pool pool;
    private final boolean visible;
    /** Images by the key of their plans. */
    private final Map<String, Shown> images = new LinkedHashMap<>();
    private final Map<String, ImagePlus> painted = new HashMap<>();
    private final Marks marks = new Marks();
    private Shown newest;

    Screen(Planner planner, Pool pool, boolean visible) {
        this.planner = planner;
        this.pool = pool;
        this.visible = visible;
    }

    // ── images ────────────────────────────────────────────────────────────────────────────

    List<Shown> images() {
        return new ArrayList<>(images.values());
    }

    /** Return the image of a plan's key, or null. */
    Shown image(String key) {
        return images.get(key);
    }

    /** Return the newest image, or null. */
    Shown newest() {
        return newest;
    }

    /** Return the image under ROIs: that of the same path, or else the newest one. */
    Shown below(Item item) {
        Plan plan = planner.find(item.window, item.path, "image");
        Shown same = plan == null ? null : images.get(plan.key);
        return same != null ? same : newest;
    }

    /** Return where the value of a path went last, or null. */
    Plan find(String window, String path, String kind) {
        return planner.find(window, path, kind);
    }

    /** Return the paths in each window whose images are shown. */
    Map<String, Set<String>> paths() {
        return planner.paths(images.keySet());
    }

    // ── showing ───────────────────────────────────────────────────────────────────────────

    /** Return the image that a value goes to: the existing one, or else a new one. */
    Shown imageFor(Plan plan, Item item) {
        Shown old = images.get(plan.key);
        Shown found = old;
        boolean isOther = old != null && (plan.restarts || !old.takes(plan, item));
        // If the user has converted or cropped the image, it stays as it is, and we make another.
        if (isOther || old != null && !old.isWhole()) found = null;
        if (found == null) {
            found = new Shown(plan, item, pool, visible);
            if (isOther) {
                found.succeed(old);
                old.close();
            }
            images.put(plan.key, found);
        }
        newest = found;
        return found;
    }

    /** Make ImageJ show the received planes of an image. */
    void refresh(Shown shown) {
        boolean isNew = shown.image() == null;
        try {
            shown.refresh();
        } finally {
            if (shown.image() == null) forget(shown); // no plane of it could be used
        }
        if (isNew && shown.image() != null) marks.showWaiting(shown.image());
    }

    /** Put ROIs over their image, or paint them into a label image. */
    void mark(Plan plan, Delivery delivery) throws Refused {
        List<Roi> rois = Marks.decode(delivery.item, delivery.bytes);
        Shown below = below(delivery.item);
        ImagePlus image = below == null ? null : below.image();
        if (!delivery.item.labels) {
            marks.show(plan.key, rois, image);
            if (image != null) below.repaint();
            return;
        }
        if (image == null) throw new Refused("labels=True for ROIs needs an image: save the image first");
        ImagePlus labels = Marks.labels(plan.name(), rois, image);
        ImagePlus old = painted.put(plan.key, labels);
        if (old != null) {
            ImageWindow window = old.getWindow();
            if (window != null) ImageWindow.setNextLocation(window.getLocation());
            Shown.close(old);
        }
        if (visible) labels.show();
    }

    // ── removing ──────────────────────────────────────────────────────────────────────────

    /** Forget the images that their user has closed. */
    void forgetClosed() {
        for (Shown shown : images()) if (shown.isClosed()) forget(shown);
    }

    void forget(ImagePlus image) {
        for (Shown shown : images()) if (shown.image() == image) forget(shown);
        painted.values().remove(image);
    }

    private void forget(Shown shown) {
        images.remove(shown.key, shown);
        planner.forget(shown.key);
        if (newest == shown) newest = null;
        pool.recheck();
    }

    /** Remove an image. */
    void take(Shown shown) {
        forget(shown);
        shown.close();
    }

    /** Remove everything. */
    void clear() {
        for (Shown shown : images()) take(shown);
        planner.clear();
        for (ImagePlus labels : new ArrayList<>(painted.values())) Shown.close(labels);
        painted.clear();
        marks.clear();
    }
}
