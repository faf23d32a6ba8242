package polystore.fiji.imagej;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.measure.Calibration;
import ij.process.LUT;
import java.awt.Component;
import java.awt.Container;
import java.awt.Graphics;
import java.awt.image.BufferedImage;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import polystore.fiji.transport.Array;

/** Describe an image of ImageJ, and convert its pixels to bytes. */
final class Images {
    private static final String[] TYPES = {"|u1", "<u2", "<f4", "|u1", "|u1"};

    private Images() {}

    static Map<String, Object> describe(ImagePlus image) {
        Map<String, Object> about = new LinkedHashMap<>();
        boolean rgb = image.getType() == ImagePlus.COLOR_RGB;
        int[] sizes = {
            image.getNFrames(), image.getNSlices(), image.getNChannels(), image.getHeight(),
            image.getWidth()
        };
        Calibration scale = image.getCalibration();
        about.put("window", image.getTitle());
        about.put("name", image.getTitle());
        about.put("shape", sizes);
        about.put("axes", "tzcyx");
        about.put("dtype", TYPES[image.getType()]);
        about.put("rgb", rgb);
        about.put(
                "scale",
                Arrays.asList(
                        scale.frameInterval, scale.pixelDepth, 1.0, scale.pixelHeight,
                        scale.pixelWidth));
        about.put(
                "units",
                Arrays.asList(
                        scale.getTimeUnit(), scale.getZUnit(), "", scale.getYUnit(),
                        scale.getUnit()));
        about.put("visible", image.getWindow() != null && image.getWindow().isVisible());
        about.put("position", new int[] {image.getT(), image.getZ(), image.getC()});
        about.put("mode", image instanceof CompositeImage
                ? ((CompositeImage) image).getModeAsString() : "");
        List<Object> channels = new ArrayList<>();
        for (int at = 1; at <= image.getNChannels() && !rgb; at++) channels.add(channel(image, at));
        about.put("channels", channels);
        about.put("labels", labels(image));
        about.put("rois", image.getOverlay() == null ? 0 : image.getOverlay().size());
        return about;
    }

    private static Map<String, Object> channel(ImagePlus image, int number) {
        Map<String, Object> about = new LinkedHashMap<>();
        if (image instanceof CompositeImage) {
            LUT lut = ((CompositeImage) image).getChannelLut(number);
            about.put("color", String.format("%06x", lut.getRGB(255) & 0xffffff));
            about.put("window", Arrays.asList(lut.min, lut.max));
        } else {
            int color = image.getProcessor().getColorModel().getRGB(255);
            about.put("color", String.format("%06x", color & 0xffffff));
            double low = image.getDisplayRangeMin();
            about.put("window", Arrays.asList(low, image.getDisplayRangeMax()));
        }
        return about;
    }

    private static List<String> labels(ImagePlus image) {
        List<String> found = new ArrayList<>();
        for (int at = 1; at <= Math.min(image.getStackSize(), 10_000); at++)
            found.add(image.getStack().getSliceLabel(at));
        return found;
    }

    /** Return all planes one after another, as the producer sent them. */
    static Array array(Object[] planes, int[] shape, String dtype, int samples) {
        int size = Integer.parseInt(dtype.substring(2));
        long count = size;
        for (int extent : shape) count *= extent;
        ByteBuffer bytes =
                ByteBuffer.allocate(Math.toIntExact(count)).order(ByteOrder.LITTLE_ENDIAN);
        for (Object plane : planes) {
            if (plane instanceof byte[]) bytes.put((byte[]) plane);
            else if (plane instanceof short[]) {
                bytes.asShortBuffer().put((short[]) plane);
                bytes.position(bytes.position() + 2 * ((short[]) plane).length);
            } else if (plane instanceof float[]) {
                bytes.asFloatBuffer().put((float[]) plane);
                bytes.position(bytes.position() + 4 * ((float[]) plane).length);
            } else
                for (int pixel : (int[]) plane) {
                    bytes.put((byte) (pixel >> 16)).put((byte) (pixel >> 8)).put((byte) pixel);
                    if (samples == 4) bytes.put((byte) (pixel >> 24));
                }
        }
        bytes.flip();
        return new Array(shape, dtype, bytes);
    }

    /** Return a picture of the window of an image, of its canvas, or of one plane. */
    static Array screenshot(ImagePlus image, boolean canvasOnly) {
        Component window = image.getWindow();
        if (window != null && canvasOnly) window = image.getCanvas();
        BufferedImage picture;
        if (window == null) picture = image.flatten().getBufferedImage();
        else {
            int width = window.getWidth();
            picture = new BufferedImage(width, window.getHeight(), BufferedImage.TYPE_INT_RGB);
            Graphics graphics = picture.getGraphics();
            graphics.setColor(window.getBackground());
            graphics.fillRect(0, 0, picture.getWidth(), picture.getHeight());
            graphics.setColor(window.getForeground());
            window.paint(graphics); // paint it: printing a window would add a frame of Java
            if (window instanceof Container)
                for (Component part : ((Container) window).getComponents())
                    part.printAll(graphics.create(
                        part.getX(), part.getY(), part.getWidth(), part.getHeight()));
            graphics.dispose();
        }
        int columns = picture.getWidth();
        int rows = picture.getHeight();
        int[] pixels = picture.getRGB(0, 0, columns, rows, null, 0, columns);
        for (int at = 0; at < pixels.length; at++) pixels[at] |= 0xff000000;
        return array(new Object[] {pixels}, new int[] {rows, columns, 4}, "|u1", 4);
    }
}
