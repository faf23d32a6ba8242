package polystore.fiji;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.process.LUT;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import polystore.fiji.Place.Coordinate;

/** Colours and display ranges of the channels of one image: as was said, else as its user sets. */
final class ChannelLooks {
    private final boolean labels;
    /** Intensities of what was saved: True has become 255. */
    private final double factor;
    private final Map<Coordinate, String> said = new HashMap<>();
    private final Map<Coordinate, LUT> colors = new HashMap<>();
    private final Map<Coordinate, double[]> ranges = new HashMap<>();
    /** What ImageJ was told, and of which channels it must be told yet. */
    private final Map<Coordinate, LUT> applied = new HashMap<>();
    private final Set<Coordinate> untold = new HashSet<>();

    ChannelLooks(boolean labels, String original) {
        this.labels = labels;
        factor = original.equals("|b1") ? 255 : 1;
    }

    /**
     * Take up what an item says of its channel {@code number}: only what is said anew undoes what
     * the user has set. The first of {@code planes} is one of that channel.
     */
    void say(Coordinate c, Item item, int number, Collection<Object> planes) {
        Channel channel = number < item.channels.length ? item.channels[number] : null;
        String color = channel == null ? null : channel.color;
        double[] window = channel == null ? null : channel.window;
        if (item.colormap != null) color = item.colormap;
        if (item.contrastLimits != null) window = item.contrastLimits;
        boolean isFirst = !said.containsKey(c);
        String now = color + Arrays.toString(window);
        if (now.equals(said.put(c, now))) return;
        try {
            if (color != null) colors.put(c, Looks.lut(color));
        } catch (Refused error) {
            throw new IllegalStateException(error); // it was looked up when it was accepted
        }
        if (window != null) ranges.put(c, new double[] {window[0] * factor, window[1] * factor});
        else if (isFirst) ranges.put(c, labels ? labelRange(planes) : firstRange(planes));
        untold.add(c);
    }

    private static double[] firstRange(Collection<Object> planes) {
        return Looks.range(planes.iterator().next());
    }

    private static double[] labelRange(Collection<Object> planes) {
        double most = 255;
        for (Object plane : planes) most = Math.max(most, Looks.range(plane)[1]);
        return new double[] {0, most};
    }

    /** ImageJ has another image now: tell it all. */
    void retell(Coordinate[] channels) {
        untold.addAll(Arrays.asList(channels));
    }

    /** Remember how the user has set the channels of an image, but for what was said anew. */
    void keep(ImagePlus image, Coordinate[] channels) {
        for (int at = 0; at < channels.length; at++) {
            Coordinate c = channels[at];
            if (untold.contains(c)) continue;
            boolean isComposite = image instanceof CompositeImage;
            LUT lut = isComposite
                    ? ((CompositeImage) image).getChannelLut(at + 1)
                    : image.getProcessor().getLut();
            double low = isComposite ? lut.min : image.getDisplayRangeMin();
            double high = isComposite ? lut.max : image.getDisplayRangeMax();
            ranges.put(c, new double[] {low, high});
            if (!Arrays.equals(lut.getBytes(), applied.get(c).getBytes())) colors.put(c, lut);
        }
    }

    /** Tell ImageJ what it does not know yet. */
    void tell(ImagePlus image, Coordinate[] channels) {
        for (int at = 0; at < channels.length; at++) {
            Coordinate c = channels[at];
            if (!untold.remove(c)) continue;
            LUT lut = (LUT) colors.getOrDefault(c, byDefault(at, channels.length)).clone();
            double[] range = ranges.get(c);
            if (range != null) {
                lut.min = range[0];
                lut.max = range[1];
            }
            applied.put(c, lut);
            if (image instanceof CompositeImage)
                ((CompositeImage) image).setChannelLut(lut, at + 1);
            else {
                image.setLut(lut);
                image.setDisplayRange(lut.min, lut.max);
            }
        }
    }

    private LUT byDefault(int at, int count) {
        if (labels) return Looks.labels();
        return count > 1 ? Looks.channel(at) : Looks.gray();
    }
}
