package polystore.fiji.imagej;

/** The longest time that the thread of the images was busy. Only that thread uses it. */
final class Pulse {
    private long last, longest;

    /** Note that the thread is free. */
    void beat() {
        long now = System.currentTimeMillis();
        if (last > 0) longest = Math.max(longest, now - last);
        last = now;
    }

    /** Return the longest time between two beats since the last call, in seconds. */
    double take() {
        beat();
        long most = longest;
        longest = 0;
        return most / 1000.0;
    }
}
