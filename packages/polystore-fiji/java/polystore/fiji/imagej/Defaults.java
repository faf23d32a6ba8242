package polystore.fiji.imagej;

import java.util.Arrays;

/**
 * Default colours and display limits. All viewers follow these rules, and
 * docs/protocol/looks has examples. This class does not use ImageJ.
 */
final class Defaults {
    /** Colours of channels. The first ones can also be told apart by colour-blind people. */
    private static final String[] PALETTE = {
        "FF00FF", "00FF00", "00FFFF", "FFFF00", "FF0000", "0000FF"
    };

    /** Most pixels of a plane in the sample. */
    private static final int SAMPLE = 16_384;

    /** One pixel in this many is below the limits, and one is above. */
    private static final int PIXELS_PER_OUTLIER = 1000;

    private Defaults() {}

    /** Return the colour of a channel as RRGGBB. A single channel is gray. */
    static String color(int index, int count) {
        return count == 1 ? "FFFFFF" : PALETTE[index % PALETTE.length];
    }

    /** Return the display limits of one plane, or null if it has no finite pixel. */
    static double[] limits(Object pixels, int width, int height) {
        int step = step(width, height);
        // Only the two ends of the sorted sample are needed. An end is short, so keeping it
        // sorted costs less than sorting the sample.
        double[] least = new double[SAMPLE / PIXELS_PER_OUTLIER + 1];
        double[] greatest = new double[least.length]; // negated
        Arrays.fill(least, Double.POSITIVE_INFINITY);
        Arrays.fill(greatest, Double.POSITIVE_INFINITY);
        int count = 0;
        for (int y = 0; y < height; y += step)
            for (int x = 0; x < width; x += step) {
                double value = value(pixels, y * width + x);
                if (!isFinite(value)) continue;
                count++;
                insert(least, value);
                insert(greatest, -value);
            }
        int outliers = count / PIXELS_PER_OUTLIER;
        if (count > 0 && least[outliers] < -greatest[outliers])
            return new double[] {least[outliers], -greatest[outliers]};
        return extremes(pixels);
    }

    /** Return the limits of two sets of planes together. Null is an empty set. */
    static double[] union(double[] some, double[] others) {
        if (some == null || others == null) return some == null ? others : some;
        return new double[] {Math.min(some[0], others[0]), Math.max(some[1], others[1])};
    }

    /**
     * Return the limits to show. They are the same, unless all pixels are equal. {@code bits} is the
     * number of bits of an image of integers, or 0 for other images and if it is unknown.
     */
    static double[] shown(double[] limits, int bits) {
        if (limits == null) return new double[] {0, 1};
        double value = limits[0];
        if (value < limits[1]) return limits;
        if (bits > 0) return new double[] {0, Math.pow(2, bits) - 1};
        if (value == 0) return new double[] {0, 1};
        return new double[] {Math.min(value, 0), Math.max(value, 0)};
    }

    /** Return the least step with which the sample is small enough. */
    private static int step(int width, int height) {
        int step = Math.max(1, (int) Math.sqrt((double) width * height / SAMPLE));
        while ((long) parts(width, step) * parts(height, step) > SAMPLE) step++;
        return step;
    }

    private static int parts(int length, int step) {
        return (length - 1) / step + 1;
    }

    /** Keep the least values, in order. */
    private static void insert(double[] least, double value) {
        int at = least.length - 1;
        if (value >= least[at]) return;
        for (; at > 0 && least[at - 1] > value; at--) least[at] = least[at - 1];
        least[at] = value;
    }

    /** There is one loop for each type, because this reads every pixel. */
    private static double[] extremes(Object pixels) {
        if (pixels instanceof float[]) return extremes((float[]) pixels);
        int low = Integer.MAX_VALUE;
        int high = Integer.MIN_VALUE;
        if (pixels instanceof byte[])
            for (byte pixel : (byte[]) pixels) {
                low = Math.min(low, pixel & 0xff);
                high = Math.max(high, pixel & 0xff);
            }
        else
            for (short pixel : (short[]) pixels) {
                low = Math.min(low, pixel & 0xffff);
                high = Math.max(high, pixel & 0xffff);
            }
        return new double[] {low, high};
    }

    private static double[] extremes(float[] pixels) {
        float low = Float.POSITIVE_INFINITY;
        float high = Float.NEGATIVE_INFINITY;
        for (float pixel : pixels) {
            if (!isFinite(pixel)) continue;
            low = Math.min(low, pixel);
            high = Math.max(high, pixel);
        }
        return low > high ? null : new double[] {low, high};
    }

    private static boolean isFinite(double value) {
        return !Double.isNaN(value) && !Double.isInfinite(value);
    }

    private static double value(Object pixels, int at) {
        if (pixels instanceof byte[]) return ((byte[]) pixels)[at] & 0xff;
        if (pixels instanceof short[]) return ((short[]) pixels)[at] & 0xffff;
        return ((float[]) pixels)[at];
    }
}
