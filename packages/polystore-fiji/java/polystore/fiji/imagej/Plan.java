package polystore.fiji.imagej;

import polystore.fiji.transport.Item;

/** Where one value goes: an image, and the place of each of its planes there. */
final class Plan {
    /** Of the image (of ROIs: of their set). */
    final String key;
    final String title;
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
    private final boolean rgb;

    Plan(
            String key,
            String title,
            Place[] places,
            boolean restarts,
            String identity,
            Item item) {
        shape = item.shape;
        dtype = item.dtype;
        original = item.original.isEmpty() ? item.dtype : item.original;
        axes = item.axes;
        words = item.words;
        rgb = item.isImage && item.axes.endsWith("s");
        this.key = key;
        this.title = title;
        this.places = places;
        this.restarts = restarts;
        this.identity = identity;
    }

    /** Bytes of a pixel of RGB(A); 0 of others. */
    int samples() {
        return rgb ? shape[shape.length - 1] : 0;
    }
}
