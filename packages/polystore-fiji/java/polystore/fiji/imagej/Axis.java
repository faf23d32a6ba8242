package polystore.fiji.imagej;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import polystore.fiji.imagej.Place.Coordinate;

/** One axis of a hyperstack: the received coordinates, and those that ImageJ shows already. */
final class Axis {
    private final TreeSet<Coordinate> all = new TreeSet<>();
    private final Map<Coordinate, Integer> indexes = new HashMap<>();
    private Coordinate[] shown = {};

    void add(Coordinate coordinate) {
        all.add(coordinate);
    }

    /** Make ImageJ show all received coordinates. */
    void grow() {
        if (!isGrown()) return;
        shown = all.toArray(new Coordinate[0]);
        for (int at = 0; at < shown.length; at++) indexes.put(shown[at], at);
    }

    /** Whether ImageJ does not show all received coordinates yet. */
    boolean isGrown() {
        return shown.length != all.size();
    }

    int size() {
        return shown.length;
    }

    Coordinate[] coordinates() {
        return shown;
    }

    /** Index from 1, as ImageJ counts. */
    int position(Coordinate coordinate) {
        return indexes.get(coordinate) + 1;
    }

    List<String> texts() {
        List<String> texts = new ArrayList<>();
        for (Coordinate coordinate : shown) texts.add(coordinate.toString());
        return texts;
    }
}
