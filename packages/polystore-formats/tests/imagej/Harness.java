import ij.*;
import ij.gui.*;
import ij.io.*;
import ij.measure.Calibration;
import ij.process.*;
import java.awt.*;
import java.io.*;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.zip.*;

/**
 * Writes and reads files with ImageJ itself. "make FOLDER" fills a folder. "rois FOLDER" and
 * "images FOLDER" print a line of JSON for each file of a folder.
 */
public class Harness {
    static final int SIZE = 64;
    static final Map<String, byte[]> made = new LinkedHashMap<>();
    static PrintStream out;

    public static void main(String[] args) throws Exception {
        out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        Path folder = Paths.get(args[1]);
        switch (args[0]) {
            case "make": makeRois(folder); Images.make(folder); break;
            case "rois": for (Path path : files(folder, ".roi")) describe(path); break;
            case "images": for (Path path : files(folder, ".tif")) Images.describe(path); break;
            default: throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    static java.util.List<Path> files(Path folder, String suffix) throws IOException {
        java.util.List<Path> found = new ArrayList<>();
        try (DirectoryStream<Path> all = Files.newDirectoryStream(folder, "*" + suffix)) {
            for (Path path : all) found.add(path);
        }
        Collections.sort(found);
        return found;
    }

    // ── ROIs of ImageJ ──────────────────────────────────────────────────────────────────

    static void put(String name, Roi roi) {
        roi.setName(name);
        made.put(name, RoiEncoder.saveAsByteArray(roi));
    }

    static Roi polygon(int type, double... xy) {
        float[] x = new float[xy.length / 2], y = new float[xy.length / 2];
        int[] xi = new int[x.length], yi = new int[x.length];
        boolean whole = true;
        for (int i = 0; i < x.length; i++) {
            x[i] = (float) xy[2 * i];
            y[i] = (float) xy[2 * i + 1];
            xi[i] = (int) x[i];
            yi[i] = (int) y[i];
            whole &= x[i] == xi[i] && y[i] == yi[i];
        }
        return whole ? new PolygonRoi(xi, yi, x.length, type) : new PolygonRoi(x, y, x.length, type);
    }

    static void makeRois(Path folder) throws Exception {
        double[] whole = {1, 2, 9, 3, 5, 12}, fine = {1.5, 2.5, 9.25, 3, 5.75, 12.125};
        put("rectangle", new Roi(2, 3, 10, 5));
        put("rectangle-outside", new Roi(-20, -30, 10, 5));
        put("rectangle-far", new Roi(40000, 50000, 1000, 500));
        put("rectangle-fine", new Roi(2.25, 3.75, 10.5, 5.25));
        put("rectangle-rounded", new Roi(2, 3, 20, 15, 6));
        put("rectangle-rotated", new RotatedRectRoi(10, 20, 30, 35, 7));
        put("oval", new OvalRoi(2, 3, 10, 5));
        put("oval-fine", new OvalRoi(2.5, 3.25, 10.5, 5.5));
        put("ellipse", new EllipseRoi(10, 20, 30, 35, 0.4));
        put("polygon", polygon(Roi.POLYGON, whole));
        put("polygon-fine", polygon(Roi.POLYGON, fine));
        put("polygon-outside", polygon(Roi.POLYGON, -10, -20, 9, 3, 5, 12));
        put("polygon-far", polygon(Roi.POLYGON, 40000, 2, 50009, 3, 45005, 30000));
        put("freehand", polygon(Roi.FREEROI, whole));
        put("traced", polygon(Roi.TRACED_ROI, 1, 2, 9, 2, 9, 12, 1, 12));
        put("polyline", polygon(Roi.POLYLINE, whole));
        put("polyline-fine", polygon(Roi.POLYLINE, fine));
        put("freeline", polygon(Roi.FREELINE, whole));
        put("angle", polygon(Roi.ANGLE, whole));
        put("angle-fine", polygon(Roi.ANGLE, fine));
        put("line", new Line(1, 2, 30, 4));
        put("line-fine", new Line(30.5, 20.5, 3.25, 4));
        Arrow arrow = new Arrow(1, 2, 30, 4);
        arrow.setStyle(Arrow.NOTCHED);
        arrow.setHeadSize(17);
        arrow.setDoubleHeaded(true);
        put("arrow", arrow);
        put("point", new PointRoi(5, 6));
        put("points-fine", new PointRoi(new float[] {1, 5.5f, 9}, new float[] {1, 2, 3.5f}, 3));
        PointRoi counted = new PointRoi(new float[] {1, 5, 9}, new float[] {1, 2, 3}, 3);
        counted.setCounters(new int[] {0, 1 + (7 << 8), 2});
        counted.setPointType(PointRoi.DOT);
        counted.setSize(4);
        put("points-counted", counted);
        PointRoi labelled = new PointRoi(new int[] {1, 5}, new int[] {1, 2}, 2);
        labelled.setShowLabels(true);
        put("points-labelled", labelled);
        put("composite", new ShapeRoi(new Roi(0, 0, 20, 20)).xor(new ShapeRoi(new Roi(5, 5, 6, 6))));
        put("composite-pieces", new ShapeRoi(polygon(Roi.POLYGON, fine)).or(new ShapeRoi(new Roi(30, 5, 6, 6))));
        put("composite-curves", new ShapeRoi(new java.awt.geom.Ellipse2D.Double(3, 4, 31.5, 20)));
        TextRoi text = new TextRoi(10, 20, "hello\nw\u00f6rld \ud83d\ude00", new Font("SansSerif", Font.BOLD, 14));
        text.setJustification(TextRoi.CENTER);
        text.setAngle(12.5);
        text.setDrawStringMode(true);
        put("text", text);
        ImageRoi image = new ImageRoi(4, 5, new ByteProcessor(8, 6, new byte[48]));
        image.setOpacity(0.5);
        image.setZeroTransparent(true);
        put("image", image);
        Roi coloured = new OvalRoi(2, 3, 10, 5);
        coloured.setGroup(7); // a group has a colour
        coloured.setStrokeWidth(2.5); // a stroke removes the fill
        coloured.setStrokeColor(new Color(255, 128, 0));
        coloured.setFillColor(new Color(1, 2, 3, 64));
        coloured.setPosition(2, 3, 4);
        coloured.setProperty("class", "debris");
        coloured.setProperty("area", "12.5");
        coloured.setProperty("note", "two words, \u00e9");
        put("oval-coloured \u00e9\ud83d\ude00", coloured);
        Roi on = new Roi(1, 2, 3, 4);
        on.setPosition(9);
        put("rectangle-on-slice", on);
        PolygonRoi spline = (PolygonRoi) polygon(Roi.POLYGON, 10, 10, 30, 12, 28, 40, 9, 33);
        spline.fitSpline();
        put("polygon-spline", spline);
        Roi shown = new Roi(1, 2, 3, 4);
        Overlay overlay = new Overlay(shown);
        overlay.drawLabels(true);
        overlay.drawNames(true);
        overlay.drawBackgrounds(true);
        overlay.setLabelColor(Color.YELLOW);
        overlay.setLabelFont(new Font("SansSerif", Font.BOLD, 13), true);
        shown.setPrototypeOverlay(overlay);
        put("rectangle-labelled", shown);
        for (Map.Entry<String, byte[]> one : made.entrySet())
            Files.write(folder.resolve(one.getKey() + ".roi"), one.getValue());
        File set = folder.resolve("RoiSet.zip").toFile();
        try (ZipOutputStream zip = new ZipOutputStream(new FileOutputStream(set))) {
            for (Map.Entry<String, byte[]> one : made.entrySet()) {
                zip.putNextEntry(new ZipEntry(one.getKey() + ".roi"));
                zip.write(one.getValue());
            }
        }
    }

    // ── descriptions of ROIs ────────────────────────────────────────────────────────────

    static void describe(Path path) throws Exception {
        Roi roi = RoiDecoder.openFromByteArray(Files.readAllBytes(path));
        Json json = new Json("file", path.getFileName().toString());
        if (roi == null) {
            json.put("kind", null);
            out.println(json);
            return;
        }
        Method convention = Roi.class.getDeclaredMethod("useLineSubpixelConvention");
        convention.setAccessible(true);
        Rectangle b = roi.getBounds();
        FloatPolygon vertices = roi.getFloatPolygon();
        json.put("kind", roi.getClass().getSimpleName() + " " + roi.getTypeAsString());
        json.put("name", roi.getName());
        json.put("bounds", new double[] {b.x, b.y, b.width, b.height});
        json.put("centred", convention.invoke(roi));
        json.put("position", new double[] {roi.getPosition(), roi.getCPosition(), roi.getZPosition(), roi.getTPosition()});
        json.put("stroke", roi.getStrokeColor() == null ? null : Integer.toHexString(roi.getStrokeColor().getRGB()));
        json.put("fill", roi.getFillColor() == null ? null : Integer.toHexString(roi.getFillColor().getRGB()));
        json.put("stroke_width", (double) roi.getStrokeWidth());
        json.put("group", (double) roi.getGroup());
        json.put("properties", roi.getProperties());
        json.put("xy", interleaved(vertices));
        if (roi instanceof PointRoi)
            json.put("counters", counters((PointRoi) roi, vertices.npoints));
        if (roi.isArea() && b.width <= SIZE && b.height <= SIZE) {
            json.put("contains", pixels(roi));
            json.put("mask", masked(roi));
        }
        json.put("again", Arrays.equals(RoiEncoder.saveAsByteArray(roi), Files.readAllBytes(path)));
        json.put("saved", Base64.getEncoder().encodeToString(RoiEncoder.saveAsByteArray(roi)));
        out.println(json);
    }

    static double[] interleaved(FloatPolygon vertices) {
        double[] xy = new double[2 * vertices.npoints];
        for (int i = 0; i < vertices.npoints; i++) {
            xy[2 * i] = vertices.xpoints[i];
            xy[2 * i + 1] = vertices.ypoints[i];
        }
        return xy;
    }

    static double[] counters(PointRoi roi, int count) {
        double[] found = new double[count];
        for (int i = 0; i < count; i++) found[i] = roi.getCounter(i);
        return found;
    }

    static String pixels(Roi roi) {
        StringBuilder bits = new StringBuilder();
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) bits.append(roi.contains(x, y) ? '1' : '0');
        return bits.toString();
    }

    static String masked(Roi roi) {
        Rectangle b = roi.getBounds();
        ImageProcessor mask = roi.getMask();
        StringBuilder bits = new StringBuilder();
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                boolean in = b.contains(x, y) && (mask == null || mask.get(x - b.x, y - b.y) != 0);
                bits.append(in ? '1' : '0');
            }
        return bits.toString();
    }

    // ── one JSON object ─────────────────────────────────────────────────────────────────

    static class Json {
        private final StringBuilder text = new StringBuilder();

        Json(String key, Object value) {
            put(key, value);
        }

        void put(String key, Object value) {
            text.append(text.length() == 0 ? "{" : ", ").append(quoted(key)).append(": ");
            if (value instanceof double[]) text.append(Arrays.toString((double[]) value));
            else if (value instanceof Number || value instanceof Boolean || value == null) text.append(value);
            else text.append(quoted(value.toString()));
        }

        static String quoted(String value) {
            StringBuilder quoted = new StringBuilder("\"");
            for (char c : value.toCharArray())
                quoted.append(c < 0x20 || c > 0x7e || c == '"' || c == '\\' ? String.format("\\u%04x", (int) c) : c);
            return quoted.append('"').toString();
        }

        @Override public String toString() {
            return text + "}";
        }
    }

    // ── images ──────────────────────────────────────────────────────────────────────────

    static class Images {
        static void make(Path folder) throws Exception {
            hyperstack(folder, "composite-16", 16, 2, 3, 2, CompositeImage.COMPOSITE);
            hyperstack(folder, "color-8", 8, 3, 1, 4, CompositeImage.COLOR);
            hyperstack(folder, "gray-32", 32, 1, 5, 1, 0);
            hyperstack(folder, "time-16", 16, 1, 1, 3, 0);
            hyperstack(folder, "single-8", 8, 1, 1, 1, 0);
            for (ImageProcessor ip : new ImageProcessor[] {new ByteProcessor(7, 5), new ShortProcessor(7, 5), new FloatProcessor(7, 5)}) {
                ip.setLut(LUT.createLutFromColor(Color.GREEN));
                IJ.saveAsTiff(new ImagePlus("green", ip), folder.resolve("green-" + ip.getBitDepth() + ".tif").toString());
            }
            hyperstack(folder, "rgb", 24, 1, 2, 1, 0);
            hyperstack(folder, "rgb-hyper", 24, 1, 2, 3, 0);
        }

        static void hyperstack(Path folder, String name, int bits, int c, int z, int t, int mode) {
            ImageStack stack = new ImageStack(7, 5);
            for (int i = 0; i < c * z * t; i++) {
                ImageProcessor ip = bits == 8 ? new ByteProcessor(7, 5)
                    : bits == 16 ? new ShortProcessor(7, 5)
                    : bits == 32 ? new FloatProcessor(7, 5) : new ColorProcessor(7, 5);
                for (int p = 0; p < 35; p++) {
                    if (bits == 32) ip.setf(p, i * 100 + p + 0.25f);
                    else ip.set(p, bits == 24 ? (i << 16) + (p << 8) + 9 : (i * 20 + p) % 256);
                }
                stack.addSlice("slice " + (i + 1), ip);
            }
            ImagePlus imp = new ImagePlus(name, stack);
            imp.setDimensions(c, z, t);
            Calibration cal = imp.getCalibration();
            cal.pixelWidth = 0.25;
            cal.pixelHeight = 0.5;
            cal.pixelDepth = 1.5;
            cal.frameInterval = 30;
            cal.setUnit("\u00b5m");
            cal.setTimeUnit("sec");
            imp.setProperty("Info", "objective: 60x\n");
            if (mode != 0) {
                CompositeImage composite = new CompositeImage(imp, mode);
                Color[] colors = {Color.GREEN, Color.MAGENTA, new Color(255, 128, 0)};
                for (int i = 1; i <= c; i++) {
                    composite.setChannelLut(LUT.createLutFromColor(colors[i - 1]), i);
                    composite.getStack();
                    composite.setC(i);
                    composite.setDisplayRange(i * 10, i * 100);
                }
                composite.setC(1);
                imp = composite;
            } else if (bits != 24) {
                imp.setDisplayRange(5, 50);
            }
            if (c * z * t > 1) imp.setOpenAsHyperStack(true);
            Roi roi = new Roi(1, 2, 3, 2);
            roi.setName("overlaid");
            imp.setOverlay(new Overlay(roi));
            IJ.saveAsTiff(imp, folder.resolve(name + ".tif").toString());
        }

        static void describe(Path path) {
            ImagePlus imp = IJ.openImage(path.toString());
            Json json = new Json("file", path.getFileName().toString());
            if (imp == null) {
                json.put("dimensions", null);
                out.println(json);
                return;
            }
            Calibration cal = imp.getCalibration();
            json.put("dimensions", new double[] {imp.getNFrames(), imp.getNSlices(), imp.getNChannels(), imp.getHeight(), imp.getWidth()});
            json.put("bits", imp.getBitDepth());
            json.put("hyperstack", imp.isHyperStack());
            json.put("composite", imp.isComposite());
            json.put("mode", imp.isComposite() ? ((CompositeImage) imp).getMode() : 0);
            json.put("pixel", new double[] {cal.pixelDepth, cal.pixelHeight, cal.pixelWidth});
            json.put("unit", cal.getUnit());
            json.put("interval", cal.frameInterval);
            json.put("time_unit", cal.getTimeUnit());
            json.put("signed", cal.isSigned16Bit());
            json.put("info", (String) imp.getProperty("Info"));
            json.put("overlay", imp.getOverlay() == null ? 0 : imp.getOverlay().size());
            StringBuilder labels = new StringBuilder();
            for (int i = 1; i <= imp.getStackSize(); i++) labels.append(imp.getStack().getSliceLabel(i)).append("|");
            json.put("labels", labels.toString());
            int channels = imp.getNChannels();
            double[] ranges = new double[2 * channels], colors = new double[3 * channels];
            for (int i = 0; i < channels; i++) {
                LUT lut = imp.isComposite() ? ((CompositeImage) imp).getChannelLut(i + 1) : imp.getProcessor().getLut();
                ranges[2 * i] = imp.isComposite() ? lut.min : imp.getDisplayRangeMin();
                ranges[2 * i + 1] = imp.isComposite() ? lut.max : imp.getDisplayRangeMax();
                if (lut == null) continue;
                colors[3 * i] = lut.getRed(255);
                colors[3 * i + 1] = lut.getGreen(255);
                colors[3 * i + 2] = lut.getBlue(255);
            }
            json.put("ranges", ranges);
            json.put("colors", colors);
            int count = imp.getWidth() * imp.getHeight();
            double[] pixels = new double[count * imp.getStackSize()];
            for (int i = 0; i < imp.getStackSize(); i++) {
                ImageProcessor ip = imp.getStack().getProcessor(i + 1);
                for (int p = 0; p < count; p++)
                    pixels[i * count + p] = imp.getBitDepth() == 24 ? ip.get(p) & 0xffffff : cal.isSigned16Bit() ? ip.get(p) - 32768 : ip.getf(p);
            }
            json.put("pixels", pixels);
            out.println(json);
        }
    }
}
