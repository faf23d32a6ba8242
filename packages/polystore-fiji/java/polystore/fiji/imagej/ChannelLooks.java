package polystore.fiji.imagej;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.process.LUT;
import java.awt.Color;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import polystore.fiji.imagej.Place.Coordinate;
import polystore.fiji.transport.Channel;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Refused;

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
    private final Map<Coordinate, double[]> told = new HashMap<>();
    private final Set<Coordinate> untold = new HashSet<>();

    ChannelLooks(boolean labels, String original) {
        this.labels = labels;
        factor = original.equals("|b1") ? 255 : 1;
    }

    /** Take up what an item says of its channels: only news undo what the user has set. */
    void say(Plan plan, Item item, Map<Place, Object> planes) {
        double[] rangeOfAll = null;
        for (int number = 0; number < item.channelCount(); number++) {
            Place first = plan.places[number * item.channelStep()];
            boolean isFirst = !said.containsKey(first.c);
            double[] window = say(first.c, item, number);
            if (window != null || !isFirst) continue;
            // All channels of labels have one range: looking at all planes for each takes for ever.
            if (labels && rangeOfAll == null) rangeOfAll = labelRange(plan, planes);
            ranges.put(first.c, labels ? rangeOfAll : Looks.range(planes.get(first)));
        }
    }

    /** Return the display range that was said of a channel, or null. */
    private double[] say(Coordinate c, Item item, int number) {
        Channel channel = number < item.channels.length ? item.channels[number] : null;
        String color = channel == null ? null : channel.color;
        double[] window = channel == null ? null : channel.limits;
        if (item.colormap != null) color = item.colormap;
        if (item.contrastLimits != null) window = item.contrastLimits;
        String now = color + Arrays.toString(window);
        if (now.equals(said.put(c, now))) return window;
        try {
            if (color != null) colors.put(c, Looks.lut(color));
        } catch (Refused error) {
            throw new IllegalStateException(error); // it was looked up when it was accepted
        }
        if (window != null) ranges.put(c, new double[] {window[0] * factor, window[1] * factor});
        untold.add(c);
        return window;
    }

    private static double[] labelRange(Plan plan, Map<Place, Object> planes) {
        double most = 255;
        for (Place place : plan.places) most = Math.max(most, Looks.range(planes.get(place))[1]);
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
            LUT lut = lut(image, at);
            ranges.put(c, range(image, at));
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
            told.put(c, range(image, at));
        }
    }

    /** Return what the user has changed of some channels, in the words of an image. */
    List<Map<String, Object>> edits(ImagePlus image, Axis axis, Collection<Coordinate> channels) {
        List<Map<String, Object>> edits = new ArrayList<>();
        for (Coordinate c : channels) {
            int at = axis.position(c) - 1;
            Map<String, Object> edit = new LinkedHashMap<>();
            double[] range = range(image, at);
            if (!Arrays.equals(range, told.get(c)))
                edit.put("limits", Arrays.asList(range[0] / factor, range[1] / factor));
            byte[] lut = lut(image, at).getBytes();
            if (!Arrays.equals(lut, applied.get(c).getBytes())) {
                // A lookup table of several colours has no name in the words of an image.
                Color full = new Color(lut[255] & 0xff, lut[511] & 0xff, lut[767] & 0xff);
                if (Arrays.equals(lut, LUT.createLutFromColor(full).getBytes()))
                    edit.put("color", String.format("%06X", full.getRGB() & 0xffffff));
            }
            edits.add(edit);
        }
        return edits;
    }

    private static LUT lut(ImagePlus image, int at) {
        return image instanceof CompositeImage
                ? ((CompositeImage) image).getChannelLut(at + 1)
                : image.getProcessor().getLut();
    }

    private static double[] range(ImagePlus image, int at) {
        if (!(image instanceof CompositeImage))
            return new double[] {image.getDisplayRangeMin(), image.getDisplayRangeMax()};
        LUT lut = lut(image, at);
        return new double[] {lut.min, lut.max};
    }

    private LUT byDefault(int at, int count) {
        if (labels) return Looks.labels();
        return count > 1 ? Looks.channel(at) : Looks.gray();
    }
}
