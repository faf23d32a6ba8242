package polystore.fiji.transport;

import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON (RFC 8259), read strictly: objects as {@code Map<String, Object>} in their order, arrays as
 * {@code List<Object>}, then String, Long, Double, Boolean and null. Numbers are finite, integers
 * have 64 bits.
 */
final class Json {
    private static final int DEEPEST = 200;
    private static final double[] POWERS = {
        1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static Object read(byte[] utf8) throws Refused {
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(utf8)).toString();
        } catch (CharacterCodingException error) {
            throw new Refused("the JSON is damaged: it is not UTF-8");
        }
        Json json = new Json(text);
        Object found = json.value();
        if (json.next() != 0 || json.at < text.length()) {
            throw json.fault();
        }
        return found;
    }

    private Refused fault() {
        return new Refused("the JSON is damaged: "
            + (at < text.length() ? "character " + at + " is wrong" : "it ends too early"));
    }

    private char peek() {
        return at < text.length() ? text.charAt(at) : 0;
    }

    /** Skip blanks, and return the next character, or 0. */
    private char next() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r') {
            at++;
        }
        return peek();
    }

    private void expect(char wanted) throws Refused {
        if (next() != wanted) {
            throw fault();
        }
        at++;
    }

    private Object value() throws Refused {
        switch (next()) {
            case '{': return object();
            case '[': return array();
            case '"': return string();
            case 't': return word("true", true);
            case 'f': return word("false", false);
            case 'n': return word("null", null);
            default: return number();
        }
    }

    private Object word(String word, Object value) throws Refused {
        if (!text.startsWith(word, at)) {
            throw fault();
        }
        at += word.length();
        return value;
    }

    private void descend() throws Refused {
        at++;
        if (++depth > DEEPEST) {
            throw new Refused("the JSON is damaged: it has more than " + DEEPEST + " levels");
        }
    }

    /** Go to the next element after a comma. Skip the end, and return false there. */
    private boolean goesOn(char end) throws Refused {
        if (next() == end) {
            at++;
            depth--;
            return false;
        }
        expect(',');
        return true;
    }

    private Map<String, Object> object() throws Refused {
        Map<String, Object> found = new LinkedHashMap<>();
        descend();
        if (next() == '}') {
            goesOn('}');
            return found;
        }
        do {
            if (next() != '"') {
                throw fault();
            }
            String key = string();
            expect(':');
            found.put(key, value());
        } while (goesOn('}'));
        return found;
    }

    private List<Object> array() throws Refused {
        List<Object> found = new ArrayList<>();
        descend();
        if (next() == ']') {
            goesOn(']');
            return found;
        }
        do {
            found.add(value());
        } while (goesOn(']'));
        return found;
    }

    private String string() throws Refused {
        int start = ++at;
        while (peek() >= ' ' && peek() != '"' && peek() != '\\') {
            at++;
        }
        if (peek() == '"') {
            return text.substring(start, at++);
        }
        StringBuilder found = new StringBuilder().append(text, start, at);
        while (peek() != '"') {
            char one = peek();
            if (one < ' ') {
                throw fault();
            }
            at++;
            found.append(one == '\\' ? escaped() : one);
        }
        at++;
        for (int i = 0; i < found.length(); i++) {
            if (Character.isSurrogate(found.charAt(i))
                && !Character.isSupplementaryCodePoint(found.codePointAt(i++))) {
                throw new Refused("the JSON is damaged: it has half a surrogate pair");
            }
        }
        return found.toString();
    }

    private char escaped() throws Refused {
        char one = peek();
        at++;
        int known = "\"\\/bfnrt".indexOf(one);
        if (known >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(known);
        }
        if (one != 'u' || at + 4 > text.length()) {
            throw fault();
        }
        int code = 0;
        for (int end = at + 4; at < end; at++) {
            int digit = peek() < 128 ? Character.digit(peek(), 16) : -1;
            if (digit < 0) {
                throw fault();
            }
            code = code << 4 | digit;
        }
        return (char) code;
    }

    private int digits() throws Refused {
        int start = at;
        while (peek() >= '0' && peek() <= '9') {
            at++;
        }
        if (at == start) {
            throw fault();
        }
        return at - start;
    }

    private Object number() throws Refused {
        int start = at;
        at += peek() == '-' ? 1 : 0;
        boolean leads = peek() == '0';
        int whole = digits();
        if (leads && whole > 1) {
            throw fault();
        }
        int dot = at;
        int decimals = 0;
        if (peek() == '.') {
            at++;
            decimals = digits();
        }
        boolean isInteger = decimals == 0;
        boolean hasExponent = peek() == 'e' || peek() == 'E';
        if (hasExponent) {
            at++;
            at += peek() == '+' || peek() == '-' ? 1 : 0;
            digits();
            isInteger = false;
        }
        if (!hasExponent && whole + decimals <= 15) {
            long mantissa = Long.parseLong(text.substring(start, dot));
            boolean isNegative = text.charAt(start) == '-';
            for (int i = dot + 1; i < at; i++) {
                int digit = text.charAt(i) - '0';
                mantissa = mantissa * 10 + (isNegative ? -digit : digit);
            }
            if (isInteger) {
                return mantissa;
            }
            if (mantissa != 0) { // -0.0 keeps its sign below
                return mantissa / POWERS[decimals]; // both are exact, so the quotient is the nearest number
            }
        }
        String digits = text.substring(start, at);
        try {
            if (isInteger) {
                return Long.valueOf(digits);
            }
        } catch (NumberFormatException error) {
            throw new Refused("the JSON is damaged: an integer has more than 64 bits");
        }
        double found = Double.parseDouble(digits);
        if (Double.isInfinite(found)) {
            throw new Refused("the JSON is damaged: " + digits + " is too large");
        }
        return found;
    }

    /** Write maps, iterables, arrays, texts, numbers, booleans and null. NaN becomes null. */
    static byte[] write(Object value) {
        StringBuilder out = new StringBuilder(128);
        write(out, value);
        return out.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void write(StringBuilder out, Object value) {
        if (value instanceof Map) {
            char between = '{';
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                quote(out.append(between), entry.getKey().toString());
                write(out.append(':'), entry.getValue());
                between = ',';
            }
            out.append(between == '{' ? "{}" : "}");
        } else if (value instanceof Iterable) {
            char between = '[';
            for (Object element : (Iterable<?>) value) {
                write(out.append(between), element);
                between = ',';
            }
            out.append(between == '[' ? "[]" : "]");
        } else if (value != null && value.getClass().isArray()) {
            out.append('[');
            for (int i = 0; i < Array.getLength(value); i++) {
                write(i > 0 ? out.append(',') : out, Array.get(value, i));
            }
            out.append(']');
        } else if (value instanceof Number) {
            double number = ((Number) value).doubleValue();
            boolean isFinite = !Double.isNaN(number) && !Double.isInfinite(number);
            out.append(isFinite ? value.toString() : "null");
        } else if (value == null || value instanceof Boolean) {
            out.append(value);
        } else {
            quote(out, value.toString());
        }
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char one = text.charAt(i);
            if (one < ' ') {
                out.append(String.format("\\u%04x", (int) one));
            } else {
                out.append(one == '"' || one == '\\' ? "\\" : "").append(one);
            }
        }
        out.append('"');
    }
}
