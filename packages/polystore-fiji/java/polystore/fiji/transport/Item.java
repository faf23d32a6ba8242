package polystore.fiji.transport;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/** The checked header of a message "image" or "rois", with the place of the value. */
public final class Item {
    private static final Set<String> DTYPES = new HashSet<>(Arrays.asList(
        "|b1", "|i1", "|u1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"));
    /** Bytes of a plane besides its pixels: head of the array, place, label, entries in maps. */
    private static final int PLANE_BYTES = 256;
    private static final int OWN_BYTES = 1 << 10;
    private static final Pattern AXES = Pattern.compile("t?c?z?yxs?");

    public final boolean isImage;
    public final String path;
    public final String window;
    public final String layer;
    public final String title;
    final String policy;
    final String wait;
    public final String axes;
    public final String dtype;
    public final String channel;
    final String layers;
    public final String colormap;
    public final String group;
    public final String groupTitle;
    public final String original;
    /** All metadata of the image, which the answer to "pixels" returns. */
    public final String words;
    /** Significant bits of an image of integers, from its metadata. 0 if unknown. */
    public final int bits;
    public final String encoding;
    public final String[][] at;
    public final int series;
    public final int count;
    public final boolean labels;
    /** Whether to show a scale bar, if the image has a unit of length. */
    public final boolean scaleBar;
    final long nbytes;
    public final int[] shape;
    /** Number of planes, the product of the leading axes. 1 for ROIs. */
    public final long planes;
    public final double[] scale;
    public final String[] units;
    public final Channel[] channels;
    public final double[] contrastLimits;
    final long number;
    final int slot;

    Item(Fields fields, boolean isImage) throws Refused {
        this.isImage = isImage;
        number = fields.integer("number", 0);
        path = fields.text("path");
        nbytes = fields.integer("nbytes");
        window = fields.text("window", "");
        layer = fields.textOrNull("layer");
        title = fields.text("title", "");
        at = fields.textPairs("at");
        series = fields.small("series", 1);
        wait = fields.text("wait", "received");
        policy = fields.text("policy", "block");
        slot = fields.slot();
        labels = fields.flag("labels", false);
        scaleBar = fields.flag("scale_bar", true);
        count = isImage ? 0 : fields.small("count", -1);
        shape = fields.integers("shape");
        dtype = fields.text("dtype", "");
        axes = fields.text("axes", "");
        channel = fields.text("channel", "");
        layers = fields.text("layers", "");
        scale = fields.numbers("scale");
        units = fields.texts("units");
        channels = channels(fields.list("channels"));
        colormap = fields.textOrNull("colormap");
        contrastLimits = fields.pair("contrast_limits");
        group = fields.text("group", "");
        groupTitle = fields.text("group_title", "");
        original = fields.text("original", "");
        words = fields.text("words", "");
        bits = bits(words);
        encoding = fields.text("encoding", "json");
        String fault = fault();
        if (fault != null) {
            throw new Refused("the message is damaged: " + fault);
        }
        planes = isImage ? planes() : 1;
    }

    private long planes() {
        long product = 1;
        for (int axis = 0; axis < axes.indexOf('y'); axis++) {
            product = Math.multiplyExact(product, (long) shape[axis]);
        }
        return product;
    }

    /** Return the bits in the metadata, or 0. Wrong metadata never refuses an image. */
    private static int bits(String words) {
        if (!words.contains("\"bits\"")) {
            return 0; // do not parse long metadata that does not have any
        }
        try {
            Fields fields = new Fields(Json.read(words.getBytes(StandardCharsets.UTF_8)));
            long bits = fields.integer("bits", 0);
            return bits >= 1 && bits <= 64 ? (int) bits : 0;
        } catch (Refused stranger) {
            return 0;
        }
    }

    private static Channel[] channels(List<?> list) throws Refused {
        Channel[] found = new Channel[list.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = new Channel(new Fields(list.get(i)));
        }
        return found;
    }

    /** Return its bytes in a queue, with objects: they are more than the pixels of small planes. */
    long memory() {
        return Math.max(nbytes, overhead());
    }

    /** Return the bytes of everything except pixels. */
    long overhead() {
        return OWN_BYTES + Math.min(planes, Integer.MAX_VALUE) * PLANE_BYTES;
    }

    public int channelCount() {
        int axis = axes.indexOf('c');
        return axis < 0 ? 1 : shape[axis];
    }

    /** Return the number of planes from one channel to the next. */
    public int channelStep() {
        int z = axes.indexOf('z');
        return axes.indexOf('c') < 0 || z < 0 ? 1 : shape[z];
    }

    /** Size of an element in bytes. */
    int itemSize() {
        return isImage ? dtype.charAt(2) - '0' : 1;
    }

    private String fault() {
        if (nbytes < 1 || path.isEmpty()) {
            return "nbytes is " + nbytes + " and path is '" + path + "'";
        }
        if (!Arrays.asList("received", "shown").contains(wait)
            || !Arrays.asList("block", "drop_oldest", "coalesce").contains(policy)) {
            return "wait is '" + wait + "' and policy is '" + policy + "'";
        }
        if (!isImage) {
            return count < 0 ? "count is missing" : null;
        }
        String fault = pixelsFault();
        return fault != null ? fault : lookFault();
    }

    private String pixelsFault() {
        if (!DTYPES.contains(dtype)) {
            return "the dtype '" + dtype + "' is not supported";
        }
        if (!AXES.matcher(axes).matches() || axes.length() != shape.length) {
            return "axes '" + axes + "' do not fit an array of " + shape.length + " axes";
        }
        long product = itemSize();
        for (int length : shape) {
            // Divide, because a product may overflow and be equal by chance.
            product = length < 1 || product > nbytes / length ? -1 : product * length;
            if (product < 0) {
                break;
            }
        }
        if (product != nbytes) {
            return nbytes + " bytes do not fit shape " + Arrays.toString(shape) + " of " + dtype;
        }
        int samples = shape[shape.length - 1];
        if (axes.endsWith("s")
            && (samples != 3 && samples != 4 || "uf".indexOf(dtype.charAt(1)) < 0)) {
            return "samples of RGB(A) do not fit shape " + Arrays.toString(shape) + " of " + dtype;
        }
        return null;
    }

    private String lookFault() {
        int c = axes.indexOf('c');
        if (!layers.isEmpty() && (!layers.equals("c") || c < 0)) {
            return "layers along '" + layers + "' do not fit axes '" + axes + "'";
        }
        int extents = axes.endsWith("s") ? axes.length() - 1 : axes.length();
        if (scale.length > 0 && scale.length != extents
            || units.length > 0 && units.length != extents
            || channels.length > 0 && channels.length != (c < 0 ? 1 : shape[c])) {
            return "scale has length " + scale.length + ", units " + units.length + " and channels "
                + channels.length + ", which do not fit axes '" + axes + "'";
        }
        return null;
    }

    /** Return the key of its place. Of values with equal keys, only the newest is shown. */
    Object place() {
        List<Object> place = new ArrayList<>(Arrays.asList(isImage, labels, window, path));
        for (String[] step : at) {
            place.add(Arrays.asList(step));
        }
        return place;
    }
}
