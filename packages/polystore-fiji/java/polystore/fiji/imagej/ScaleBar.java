package polystore.fiji.imagej;

import ij.ImagePlus;
import ij.gui.Overlay;
import ij.gui.Roi;
import ij.measure.Calibration;
import java.awt.Color;
import java.awt.Dimension;
import java.awt.Font;
import java.awt.FontMetrics;
import java.awt.Graphics;
import java.util.Arrays;
import java.util.Locale;

/**
 * The scale bar of one image, painted over its window and not part of the image or its overlay:
 * whether it is shown, and its length.
 */
final class ScaleBar {
    /** Units, the longest first. A bar has the first unit that is not longer than the bar. */
    private static final String[] UNITS = {"km", "m", "mm", "\u00b5m", "nm", "pm"};

    private static final double[] METRES = {1e3, 1, 1e-3, 1e-6, 1e-9, 1e-12};

    /** Prefixes of UDUNITS-2 without a short name in {@link Scale}. */
    private static final String[] PREFIXES = {
        "yocto", "zepto", "atto", "femto", "pico", "deci", "hecto", "kilo", "mega", "giga", "tera",
        "peta", "exa", "zetta", "yotta"
    };

    private static final int[] POWERS = {-24, -21, -18, -15, -12, -1, 2, 3, 6, 9, 12, 15, 18, 21, 24};

    /** Other lengths, which are shown with their full names. */
    private static final String OTHERS =
            " \u00c5 foot feet inch inches in mile miles parsec yard yards ";

    /** Largest part of the width of the window. */
    private static final double LARGEST = 0.25;

    /** Sizes in pixels of the screen. */
    private static final int MARGIN = 10, THICK = 4, GAP = 3, SHORTEST = 8;

    /** ImageJ's name of its own scale bar in an overlay. */
    private static final String OWN = "|SB|";

    private boolean isAsked = true;
    private Boolean chosen;

    /** Set whether a pipeline wants it. The user's choice comes first. */
    void ask(boolean isAsked) {
        this.isAsked = isAsked;
    }

    /** Set the user's choice. */
    void toggle() {
        chosen = !isOn();
    }

    boolean isOn() {
        return chosen != null ? chosen : isAsked;
    }

    /** Paint it in the lower right corner of a canvas of this size. */
    void paint(Graphics graphics, ImagePlus image, double magnification, Dimension canvas) {
        if (!isOn() || hasOwn(image.getOverlay())) return;
        Calibration scale = image.getCalibration();
        double pixel = scale.pixelWidth / magnification;
        Length length = Length.of(pixel * canvas.width * LARGEST, scale.getXUnit());
        if (length == null) return;
        int width = (int) Math.round(length.extent / pixel);
        Graphics own = graphics.create();
        own.setFont(new Font(Font.SANS_SERIF, Font.BOLD, 12));
        FontMetrics metrics = own.getFontMetrics();
        int wide = Math.max(width, metrics.stringWidth(length.text));
        int y = canvas.height - MARGIN - THICK;
        if (width < SHORTEST || wide + 2 * MARGIN > canvas.width || y < metrics.getHeight() + MARGIN)
            return; // the window is too small
        int left = canvas.width - MARGIN - wide;
        int x = left + (wide - width) / 2;
        int textX = left + (wide - metrics.stringWidth(length.text)) / 2;
        own.setColor(Color.black); // draw an edge, because the image may be bright
        own.fillRect(x - 1, y - 1, width + 2, THICK + 2);
        for (int dx = -1; dx <= 1; dx++)
            for (int dy = -1; dy <= 1; dy++) own.drawString(length.text, textX + dx, y - GAP + dy);
        own.setColor(Color.white);
        own.fillRect(x, y, width, THICK);
        own.drawString(length.text, textX, y - GAP);
        own.dispose();
    }

    private static boolean hasOwn(Overlay overlay) {
        if (overlay == null) return false;
        for (Roi roi : overlay.toArray()) if (OWN.equals(roi.getName())) return true;
        return false;
    }

    /** A round length: 1, 2 or 5 times a power of ten. */
    static final class Length {
        /** Length in the given unit. */
        final double extent;
        final String text;

        private Length(double extent, String text) {
            this.extent = extent;
            this.text = text;
        }

        /** Return the largest one of at most {@code most} units. Null if that is not a length. */
        static Length of(double most, String unit) {
            boolean isOther = OTHERS.contains(" " + unit + " ");
            double metres = isOther ? 1 : metres(unit);
            if (metres == 0 || !(most > 0) || Double.isInfinite(most)) return null;
            double extent = round(most * metres);
            int best = 0;
            while (best < METRES.length - 1 && extent < METRES[best] * (1 - 1e-9)) best++;
            String text =
                    isOther ? text(extent) + " " + unit
                            : text(extent / METRES[best]) + " " + UNITS[best];
            return new Length(extent / metres, text);
        }

        /** Return the length of a unit in metres, or 0 if it is not a length. */
        private static double metres(String unit) {
            for (int at = 0; at < UNITS.length; at++) if (UNITS[at].equals(unit)) return METRES[at];
            if (Arrays.asList("um", "\u03bcm", "micron", "microns").contains(unit)) return 1e-6;
            if (unit.equals("cm")) return 1e-2;
            for (int at = 0; at < PREFIXES.length; at++)
                if (unit.equals(PREFIXES[at] + "meter")) return Math.pow(10, POWERS[at]);
            return 0;
        }

        private static double round(double most) {
            double power = Math.pow(10, Math.floor(Math.log10(most)));
            double factor = most / power;
            return power * (factor >= 5 ? 5 : factor >= 2 ? 2 : 1);
        }

        private static String text(double number) {
            String text = String.format(Locale.ROOT, "%.3g", number);
            double rounded = Double.parseDouble(text);
            return rounded >= 1 && rounded < 1e6
                    ? Long.toString(Math.round(rounded))
                    : Double.toString(rounded);
        }
    }
}
