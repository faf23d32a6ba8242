package polystore.fiji.imagej;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.process.LUT;
import java.awt.Color;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import polystore.fiji.imagej.Place.Coordinate;
import polystore.fiji.transport.Channel;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Refused;

/**
 * Colours and display ranges of the channels of one image: those of its user, or else those of a
 * pipeline, or else those of {@link Defaults}.
 */
final class ChannelLooks {
    /** The range of all 8 bits, for masks and for label images, which are painted id by id. */
    private static final double[] WHOLE = {0, 255};

    private static final class Look {
        /** Number of channels that came before it. It keeps its colour when others come. */
        final int number;
        /** The last settings of a pipeline. Only different ones replace those of the user. */
        String said = "";
        /** Set by a pipeline or by the user. Null: the default. */
        LUT color;
        /** Set by a pipeline or by the user. Null: it follows the planes. */
        double[] range;
        /** The limits of all received planes. */
        double[] seen;
        boolean isColorEdited, isRangeEdited;
        /** The values that ImageJ has. Null: none yet. */
        LUT toldColor;
        double[] toldRange;
        boolean isColorNew = true, isRangeNew = true;

        Look(int number) {
            this.number = number;
        }
    }

    private final boolean labels, isMask, isInteger;
    /** Convert saved intensities to those of ImageJ, where True is 255. */
    private final double factor;
    private final int width, height;
    private int bits;
    private final Map<Coordinate, Look> looks = new HashMap<>();

    ChannelLooks(boolean labels, String original, int width, int height) {
        this.labels = labels;
        this.width = width;
        this.height = height;
        isMask = original.equals("|b1");
        isInteger = "iu".indexOf(original.charAt(1)) >= 0;
        factor = isMask ? 255 : 1;
    }

    /** Update the channels from the settings and the planes of an item. */
    void say(Plan plan, Item item, Map<Place, Object> planes) {
        for (int number = 0; number < item.channelCount(); number++) {
            say(look(plan.places[number * item.channelStep()].c), item, number);
        }
        if (labels || isMask) return;
        if (isInteger && item.bits > 0) bits = item.bits;
        for (Place place : plan.places) {
            Look look = look(place.c);
            if (look.range != null) continue;
            double[] limits = Defaults.limits(planes.get(place), width, height);
            double[] wider = Defaults.union(look.seen, limits);
            if (!Arrays.equals(wider, look.seen)) look.isRangeNew = true;
            look.seen = wider;
        }
    }

    /** Return the look of a channel. All channels of a label image share one. */
    private Look look(Coordinate c) {
        return looks.computeIfAbsent(labels ? null : c, key -> new Look(looks.size()));
    }

    private void say(Look look, Item item, int number) {
        Channel channel = number < item.channels.length ? item.channels[number] : null;
        String color = channel == null ? null : channel.color;
        double[] window = channel == null ? null : channel.limits;
        if (item.colormap != null) color = item.colormap;
        if (item.contrastLimits != null) window = item.contrastLimits;
        String now = color + Arrays.toString(window);
        if (now.equals(look.said)) return;
        look.said = now;
        try {
            if (color != null) {
                look.color = Looks.lut(color);
                look.isColorEdited = false;
                look.isColorNew = true;
            }
        } catch (Refused error) {
            throw new IllegalStateException(error); // it was found when the item was accepted
        }
        if (window == null) return;
        look.range = new double[] {window[0] * factor, window[1] * factor};
        look.isRangeEdited = false;
        look.isRangeNew = true;
    }

    /** Prepare for a new image in ImageJ: remember the user's settings, to set all of them again. */
    void keep(ImagePlus image, Coordinate[] channels) {
        for (int at = 0; at < channels.length; at++) {
            Look look = look(channels[at]);
            notice(look, image, at);
            look.isColorNew = look.isRangeNew = true;
            look.toldColor = null;
            look.toldRange = null;
        }
    }

    /** Read the user's settings, except for channels with newer settings of a pipeline. */
    private static void notice(Look look, ImagePlus image, int at) {
        if (look.toldColor == null) return;
        double[] range = range(image, at);
        boolean isSaid = look.isRangeNew && look.range != null && !look.isRangeEdited;
        if (!isSaid && !Arrays.equals(range, look.toldRange)) {
            look.range = look.toldRange = range;
            look.isRangeEdited = true;
            look.isRangeNew = false;
        }
        LUT color = lut(image, at);
        if (look.isColorNew || Arrays.equals(color.getBytes(), look.toldColor.getBytes())) return;
        look.color = look.toldColor = color;
        look.isColorEdited = true;
    }

    /** Set the values that ImageJ does not have yet. */
    void tell(ImagePlus image, Coordinate[] channels) {
        for (int at = 0; at < channels.length; at++) {
            Look look = look(channels[at]);
            if (!look.isColorNew && !look.isRangeNew) continue;
            notice(look, image, at);
            if (!look.isColorNew && !look.isRangeNew) continue;
            LUT known = look.color != null ? look.color : byDefault(look, channels.length);
            LUT lut = (LUT) (look.isColorNew ? known : lut(image, at)).clone();
            double[] range = look.range != null ? look.range : range(look);
            lut.min = range[0];
            lut.max = range[1];
            if (image instanceof CompositeImage)
                ((CompositeImage) image).setChannelLut(lut, at + 1);
            else {
                if (look.isColorNew) image.setLut(lut);
                image.setDisplayRange(lut.min, lut.max);
            }
            if (look.isColorNew) look.toldColor = lut;
            look.toldRange = range(image, at);
            look.isColorNew = look.isRangeNew = false;
        }
    }

    private double[] range(Look look) {
        return labels || isMask ? WHOLE : Defaults.shown(look.seen, bits);
    }

    private LUT byDefault(Look look, int count) {
        return labels ? Looks.labels() : Looks.rgb(Defaults.color(look.number, count));
    }

    /** Return the user's changes of some channels, as metadata of an image. */
    List<Map<String, Object>> edits(ImagePlus image, Axis axis, Collection<Coordinate> channels) {
        List<Map<String, Object>> edits = new ArrayList<>();
        for (Coordinate c : channels) {
            int at = axis.position(c) - 1;
            Look look = look(c);
            notice(look, image, at);
            Map<String, Object> edit = new LinkedHashMap<>();
            double[] range = range(image, at);
            if (look.isRangeEdited)
                edit.put("limits", Arrays.asList(range[0] / factor, range[1] / factor));
            byte[] lut = lut(image, at).getBytes();
            if (look.isColorEdited) {
                // Metadata of an image cannot describe a lookup table of several colours.
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
}
