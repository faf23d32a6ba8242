package polystore.fiji.imagej;

import ij.plugin.LutLoader;
import ij.process.LUT;
import java.awt.Color;
import java.awt.image.IndexColorModel;
import polystore.fiji.transport.Refused;

/** Lookup tables of ImageJ. */
final class Looks {
    private Looks() {}

    static LUT lut(String color) throws Refused {
        if (color.matches("#?[0-9A-Fa-f]{6}")) return rgb(color.replace("#", ""));
        String name = color.equalsIgnoreCase("gray") ? "grays" : color;
        // Fiji uses these names for those of matplotlib. A missing file does not open a dialog.
        for (String candidate : new String[] {name, "mpl-" + name, capitalized(name)}) {
            IndexColorModel found = LutLoader.getLut(candidate);
            if (found != null) return new LUT(found, 0, 0);
        }
        throw new Refused(
                "ImageJ does not have a lookup table '" + color + "': expected grays, fire, ice, spectrum,"
                        + " red, green, blue, cyan, magenta, yellow, a file of its folder luts,"
                        + " or RRGGBB");
    }

    static LUT rgb(String color) {
        return LUT.createLutFromColor(new Color(Integer.parseInt(color, 16)));
    }

    /**
     * Return 255 colours. Each one differs much from the next, and the last from the first. 0
     * is black.
     */
    static LUT labels() {
        // Step by the golden angle in the colour circle of 255 parts, so that all colours differ.
        int turn = 158;
        float[] saturations = {1, 0.5f, 0.8f, 0.35f, 0.65f};
        byte[][] parts = new byte[3][256];
        for (int value = 1; value < 256; value++) {
            float hue = value * turn % 255 / 255f;
            int rgb = Color.HSBtoRGB(hue, saturations[value % saturations.length], 1);
            for (int part = 0; part < 3; part++)
                parts[part][value] = (byte) (rgb >> (16 - 8 * part));
        }
        return new LUT(parts[0], parts[1], parts[2]);
    }

    private static String capitalized(String name) {
        return name.isEmpty() ? name : Character.toUpperCase(name.charAt(0)) + name.substring(1);
    }
}
