package polystore.fiji.imagej;

import ij.ImagePlus;
import ij.ImageStack;
import ij.gui.Overlay;
import ij.gui.PolygonRoi;
import ij.gui.Roi;
import ij.gui.ShapeRoi;
import ij.io.RoiDecoder;
import ij.io.RoiEncoder;
import ij.plugin.frame.RoiManager;
import ij.process.FloatPolygon;
import ij.process.ImageProcessor;
import java.awt.Shape;
import java.awt.geom.PathIterator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
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
import java.util.stream.IntStream;
import polystore.fiji.transport.Array;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Refused;

/** ROIs that pipelines sent: in the overlay of their image, and in an open ROI Manager. */
final class Marks {
    /** By the key of their set. Sets without an image wait for one. */
    private final Map<String, List<Roi>> sets = new LinkedHashMap<>();
    private final Set<String> waiting = new LinkedHashSet<>();
    /** The ROIs that the ROI Manager lists. */
    private final Map<String, Set<Roi>> managed = new HashMap<>();

    /** More would keep ImageJ busy for seconds at each paint. polystore_fiji has the same limit. */
    private static final int MOST_ROIS = 100_000;

    private static final double MOST_CROSSINGS = 2e8;
    private static final long MOST_FILLS = 1_000_000;
    private static final int SHORTEST = 4 + 64;

    static List<Roi> decode(Item item, byte[] payload) throws Refused {
        if (item.count > Math.min(MOST_ROIS, payload.length / SHORTEST))
            throw new Refused(
                    "the message has " + item.count + " ROIs in " + payload.length
                            + " bytes, but polystore shows at most " + MOST_ROIS
                            + " of one path: save them as a label image");
        List<Roi> rois = new ArrayList<>();
        double crossings = 0;
        ByteBuffer bytes = ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN);
        for (int number = 0; number < item.count; number++) {
            if (bytes.remaining() < 4) throw new Refused("ROI " + number + " is missing");
            int length = bytes.getInt();
            if (length < 64 || length > bytes.remaining())
                throw new Refused("ROI " + number + " cannot have " + length + " bytes");
            byte[] one = new byte[length];
            bytes.get(one);
            Roi roi = RoiDecoder.openFromByteArray(one);
            if (roi == null) throw new Refused("ImageJ cannot read ROI " + number);
            crossings += crossings(roi);
            if (crossings > MOST_CROSSINGS)
                throw new Refused(
                        "the outlines up to ROI " + number + " cross the rows of pixels so often"
                                + " that ImageJ would fill and draw them for minutes: simplify"
                                + " them, or save a label image");
            rois.add(roi);
        }
        return rois;
    }

    /** Return the cost of filling an area: the crossings of all rows, times those of one row. */
    private static double crossings(Roi roi) {
        if (!roi.isArea() || !(roi instanceof ShapeRoi || roi instanceof PolygonRoi)) return 0;
        double rise = 0;
        if (roi instanceof ShapeRoi) rise = rise(((ShapeRoi) roi).getShape());
        else {
            FloatPolygon outline = roi.getFloatPolygon();
            for (int at = 0, last = outline.npoints - 1; at < outline.npoints; last = at++)
                rise += Math.abs(outline.ypoints[at] - outline.ypoints[last]);
        }
        return rise * rise / Math.max(1, roi.getBounds().height);
    }

    private static double rise(Shape shape) {
        double rise = 0, last = 0, first = 0;
        double[] points = new double[6];
        for (PathIterator path = shape.getPathIterator(null); !path.isDone(); path.next()) {
            int kind = path.currentSegment(points);
            int end = kind == PathIterator.SEG_CUBICTO ? 5 : kind == PathIterator.SEG_QUADTO ? 3 : 1;
            double now = kind == PathIterator.SEG_CLOSE ? first : points[end];
            if (kind == PathIterator.SEG_MOVETO) first = now;
            else rise += Math.abs(now - last);
            last = now;
        }
        return rise;
    }

    /** Put a set over an image instead of its old ROIs. Null: there is no image yet. */
    void show(String key, List<Roi> rois, ImagePlus image) {
        List<Roi> old = sets.put(key, rois);
        if (image == null) waiting.add(key);
        if (image == null) return;
        Set<Roi> gone = Collections.newSetFromMap(new IdentityHashMap<>());
        if (old != null) gone.addAll(old);
        gone.addAll(rois);
        Overlay overlay = new Overlay();
        if (image.getOverlay() != null)
            for (Roi roi : image.getOverlay().toArray())
                if (!gone.contains(roi)) overlay.add(roi);
        for (Roi roi : rois) overlay.add(roi);
        image.setOverlay(overlay.size() == 0 ? null : overlay);
        RoiManager manager = image.getWindow() == null ? null : RoiManager.getInstance2();
        if (manager != null) manage(manager, key, rois);
    }

    private void manage(RoiManager manager, String key, List<Roi> rois) {
        Roi[] listed = manager.getRoisAsArray();
        Set<Roi> ours = managed.getOrDefault(key, Collections.emptySet());
        int[] indexes =
                IntStream.range(0, listed.length).filter(n -> ours.contains(listed[n])).toArray();
        if (indexes.length > 0) {
            manager.setSelectedIndexes(indexes);
            manager.runCommand("Delete");
        }
        for (Roi roi : rois) manager.addRoi(roi);
        Roi[] now = manager.getRoisAsArray(); // the manager lists copies
        Set<Roi> added = Collections.newSetFromMap(new IdentityHashMap<>());
        added.addAll(Arrays.asList(now).subList(now.length - rois.size(), now.length));
        managed.put(key, added);
    }

    /** Put sets over an image that came later than they. */
    void showWaiting(ImagePlus image) {
        for (String key : waiting) show(key, sets.get(key), image);
        waiting.clear();
    }

    void clear() {
        RoiManager manager = managed.isEmpty() ? null : RoiManager.getInstance2();
        if (manager != null)
            for (String key : new ArrayList<>(managed.keySet()))
                manage(manager, key, Collections.emptyList());
        sets.clear();
        waiting.clear();
        managed.clear();
    }

    /** Paint ROIs into a label image of the size of another: 1 for the first, 2 for the second. */
    static ImagePlus labels(String title, List<Roi> rois, ImagePlus like) throws Refused {
        boolean positioned = false;
        for (Roi roi : rois) positioned |= roi.getZPosition() > 0 || roi.getTPosition() > 0;
        int slices = positioned ? like.getNSlices() : 1;
        int frames = positioned ? like.getNFrames() : 1;
        long fills = 0;
        for (Roi roi : rois)
            fills += (long) (roi.getZPosition() > 0 ? 1 : slices)
                    * (roi.getTPosition() > 0 ? 1 : frames);
        if (fills > MOST_FILLS)
            throw new Refused(
                    rois.size() + " ROIs in " + slices + " z x " + frames + " t are " + fills
                            + " areas to fill, but polystore fills at most " + MOST_FILLS
                            + ": give each ROI a Position, or save a label image");
        int width = like.getWidth();
        int height = like.getHeight();
        ImageStack stack = new LabelStack(width, height, slices * frames);
        for (int slice = 1; slice <= slices * frames; slice++)
            stack.setPixels(new short[width * height], slice);
        for (int at = 0; at < rois.size(); at++) {
            Roi roi = rois.get(at);
            for (int frame : positions(roi.getTPosition(), frames))
                for (int slice : positions(roi.getZPosition(), slices)) {
                    ImageProcessor plane = stack.getProcessor(frame * slices + slice + 1);
                    plane.setValue(at + 1);
                    plane.fill(roi);
                }
        }
        ImagePlus image = new ImagePlus(title, stack);
        image.setDimensions(1, slices, frames);
        image.setOpenAsHyperStack(stack.getSize() > 1);
        image.setCalibration(like.getCalibration());
        image.setLut(Looks.labels());
        image.setDisplayRange(0, 255);
        return image;
    }

    /** Return the indexes of a ROI. Position 0 is everywhere. */
    private static int[] positions(int position, int count) {
        if (position == 0) return IntStream.range(0, count).toArray();
        return position <= count ? new int[] {position - 1} : new int[0];
    }

    // ── queries ───────────────────────────────────────────────────────────────────────────

    /** Return all ROIs of an image and its user: overlay, selection, ROI Manager. */
    static Map<Roi, String> of(ImagePlus image) {
        Map<Roi, String> found = new LinkedHashMap<>();
        if (image.getOverlay() != null)
            for (Roi roi : image.getOverlay().toArray()) found.put(roi, "overlay");
        if (image.getRoi() != null) found.putIfAbsent(image.getRoi(), "selection");
        RoiManager manager = image.getWindow() == null ? null : RoiManager.getInstance2();
        if (manager != null)
            for (Roi roi : manager.getRoisAsArray())
                if (roi.getImageID() == 0 || roi.getImageID() == image.getID())
                    found.putIfAbsent(roi, "manager");
        return found;
    }

    /** Return ROIs in the protocol's form. Of two equal ones, only the first. */
    static Array encode(Map<Roi, String> rois, List<Object> sources) {
        List<byte[]> all = new ArrayList<>();
        Map<ByteBuffer, String> seen = new HashMap<>();
        int size = 0;
        for (Map.Entry<Roi, String> entry : rois.entrySet()) {
            byte[] bytes = RoiEncoder.saveAsByteArray(entry.getKey());
            String first = seen.putIfAbsent(ByteBuffer.wrap(bytes), entry.getValue());
            if (first != null && !first.equals(entry.getValue())) continue;
            all.add(bytes);
            sources.add(entry.getValue());
            size += 4 + bytes.length;
        }
        ByteBuffer joined = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        for (byte[] bytes : all) joined.putInt(bytes.length).put(bytes);
        joined.flip();
        return new Array(new int[] {size}, "|u1", joined);
    }
}
