package polystore.fiji.imagej;

import polystore.fiji.transport.Item;

/** Where one value goes: an image, and the place of each of its planes there. */
final class Plan {
    /** Of the image (of ROIs: of their set). */
    final String key;
    final String title;
    /** The channel of the image that its path says, or "". */
    final String channel;
    /** Name of each slider and the coordinate on it, the outermost first. */
    final String[][] at;
    /** In the order of the payload; none of ROIs. */
    final Place[] places;
    /** Whether the image begins anew, with another shape or type. */
    final boolean restarts;
    /** Equal in values that take each other's place. */
    final String identity;
    /** Of an image, as it was sent. */
    final int[] shape;
    final String dtype, axes, words;
    /** Element type of what was saved. */
    final String original;
    private final boolean labels, rgb;

    Plan(Planner.Spot spot, Place[] places, boolean restarts, String identity, Item item) {
        shape = item.shape;
        dtype = item.dtype;
        original = item.original.isEmpty() ? item.dtype : item.original;
        axes = item.axes;
        words = item.words;
        labels = item.labels;
        rgb = item.isImage && item.axes.endsWith("s");
        key = spot.key;
        title = spot.title;
        channel = spot.channel;
        at = spot.at;
        this.places = places;
        this.restarts = restarts;
        this.identity = identity;
    }

    /** Return the title of the image: labels lie next to the image that they belong to. */
    String name() {
        return labels ? title + " labels" : title;
    }

    /** Bytes of a pixel of RGB(A); 0 of others. */
    int samples() {
        return rgb ? shape[shape.length - 1] : 0;
    }
}
