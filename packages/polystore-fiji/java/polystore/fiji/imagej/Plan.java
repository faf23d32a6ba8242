package polystore.fiji.imagej;

import polystore.fiji.transport.Item;

/** The image that one value goes to, and the place of each of its planes there. */
final class Plan {
    /** Key of the image, or of the set of ROIs. */
    final String key;
    final String title;
    /** The channel that the path says, or "". */
    final String channel;
    /** Name of each slider and the coordinate on it, the outermost first. */
    final String[][] at;
    /** Places in the order of the payload. None for ROIs. */
    final Place[] places;
    /** Whether the image is emptied first, for another shape or type. */
    final boolean restarts;
    /** Equal for values that replace each other. */
    final String identity;
    /** Header of an image, as it was sent. */
    final int[] shape;
    final String dtype, axes, words;
    /** Element type of the saved array. */
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

    /** Return the title of the image. A label image has another one than its image. */
    String name() {
        return labels ? title + " labels" : title;
    }

    /** Bytes of a pixel of RGB(A), or 0 for other images. */
    int samples() {
        return rgb ? shape[shape.length - 1] : 0;
    }
}
