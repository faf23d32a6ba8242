package polystore.fiji.imagej;

import ij.plugin.LutLoader;
import ij.process.LUT;
import java.awt.Color;
import java.awt.image.IndexColorModel;
import java.util.Random;
import polystore.fiji.transport.Refused;

/** Colours and display ranges, as ImageJ has them. */
final class Looks {
    /** Of channels that nobody gave a colour, as napari's: they are told apart by everybody. */
    private static final String[] CHANNELS = {
        "ff00ff", "00ff00", "00ffff", "ffff00", "ff0000", "0000ff"
    };

    private static final int SAMPLE = 1 << 20;

    private Looks() {}

    static LUT lut(String color) throws Refused {
        if (color.matches("#?[0-9A-Fa-f]{6}"))
            return LUT.createLutFromColor(new Color(Integer.parseInt(color.replace("#", ""), 16)));
        String name = color.equalsIgnoreCase("gray") ? "grays" : color;
        // Fiji calls matplotlib's so. Looking for a file that is not there opens no dialog.
        for (String candidate : new String[] {name, "mpl-" + name, capitalized(name)}) {
            IndexColorModel found = LutLoader.getLut(candidate);
            if (found != null) return new LUT(found, 0, 0);
        }
        throw new Refused(
                "ImageJ has no lookup table '" + color + "': expected grays, fire, ice, spectrum,"
                        + " red, green, blue, cyan, magenta, yellow, a file of its folder luts,"
                        + " or RRGGBB");
    }

    static LUT channel(int index) {
        return LUT.createLutFromColor(
                new Color(Integer.parseInt(CHANNELS[index % CHANNELS.length], 16)));
    }

    static LUT gray() {
        return LUT.createLutFromColor(Color.white);
    }

    /** Colours that tell neighbours apart, 0 being black. */
    static LUT labels() {
        Random random = new Random(7);
        byte[][] parts = new byte[3][256];
        for (int value = 1; value < 256; value++) {
            int rgb = Color.HSBtoRGB(random.nextFloat(), 0.5f + random.nextFloat() / 2, 1);
            for (int part = 0; part < 3; part++)
                parts[part][value] = (byte) (rgb >> (16 - 8 * part));
        }
        return new LUT(parts[0], parts[1], parts[2]);
    }

    /** All of 8 bits, else from the least to the greatest pixel. */
    static double[] range(Object pixels) {
        if (pixels instanceof byte[]) return new double[] {0, 255};
        boolean isShort = pixels instanceof short[];
        int count = isShort ? ((short[]) pixels).length : ((float[]) pixels).length;
        int step = Math.max(1, count / SAMPLE);
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        for (int at = 0; at < count; at += step) {
            double value = isShort ? ((short[]) pixels)[at] & 0xffff : ((float[]) pixels)[at];
            if (Double.isNaN(value) || Double.isInfinite(value)) continue;
            low = Math.min(low, value);
            high = Math.max(high, value);
        }
        if (low > high) return new double[] {0, 1};
        return new double[] {low, low < high ? high : low + 1};
    }

    private static String capitalized(String name) {
        return name.isEmpty() ? name : Character.toUpperCase(name.charAt(0)) + name.substring(1);
    }
}
