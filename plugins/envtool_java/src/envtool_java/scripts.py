"""What runs in the container that resolves: it finds Maven, and has it build the project through the recorder.

The container has no network. Its Maven asks a bridge on the container's loopback, which carries the bytes to a socket
of the recorder; so neither Maven's plugins nor the project's tests can reach anything else.
"""

from __future__ import annotations

NO_MAVEN, NO_JAVA = 97, 98
WORK = "/tmp/envtool-maven"
SOCKET_DIRECTORY = "/run/envtool/maven"  # where the recorder's directory is mounted
SOCKET = f"{SOCKET_DIRECTORY}/recorder"
DISTRIBUTION = f"{SOCKET_DIRECTORY}/maven.tar.gz"  # if it is there, the Maven in it builds

_FIND = f"""\
command -v java >/dev/null 2>&1 || exit {NO_JAVA}
command -v mvn >/dev/null 2>&1 || exit {NO_MAVEN}
mkdir -p {WORK}/home
export HOME={WORK}/home
"""

# Prints a line for Maven's version, one for Java's, and one for the URL in its super POM: Maven's default repository.
INSPECT = (
    "set -u\n"
    + _FIND
    + f"""\
mvn -B -v > {WORK}/version || exit 1
home=$(sed -n 's/^Maven home: //p' {WORK}/version)
sed -n 's/^.*Apache Maven \\([^ ]*\\).*/\\1/p' {WORK}/version | head -n 1
sed -n 's/^Java version: \\([^,]*\\).*/\\1/p' {WORK}/version
printf '%s' "$1" > {WORK}/SuperPom.java
exec java {WORK}/SuperPom.java "$home/lib"
"""
)
SUPER_POM = """\
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.regex.*;
import java.util.zip.*;

public class SuperPom {
    public static void main(String[] words) throws IOException {
        for (File file : new File(words[0]).listFiles()) {
            if (!file.getName().startsWith("maven-model-builder")) continue;
            try (ZipFile jar = new ZipFile(file)) {
                ZipEntry entry = jar.getEntry("org/apache/maven/model/pom-4.0.0.xml");
                if (entry == null) continue;
                String text = new String(jar.getInputStream(entry).readAllBytes(), StandardCharsets.UTF_8);
                Matcher url = Pattern.compile("<url>([^<]+)</url>").matcher(text);
                if (url.find()) System.out.println(url.group(1));
                return;
            }
        }
    }
}
"""

# Carries connections of the container's loopback to the recorder's socket. Its first bytes are the token.
BRIDGE = """\
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;

public class Bridge {
    public static void main(String[] words) throws Exception {
        byte[] token = (new BufferedReader(new InputStreamReader(System.in)).readLine() + "\\n")
            .getBytes(StandardCharsets.US_ASCII);
        ServerSocket server = new ServerSocket(0, 64, InetAddress.getByName("127.0.0.1"));
        Path port = Path.of(words[1]), draft = Path.of(words[1] + ".new");
        Files.writeString(draft, Integer.toString(server.getLocalPort()));
        Files.move(draft, port, StandardCopyOption.ATOMIC_MOVE);
        while (true) {
            Socket client = server.accept();
            Thread thread = new Thread(() -> carry(client, words[0], token));
            thread.setDaemon(true);
            thread.start();
        }
    }

    static void carry(Socket client, String path, byte[] token) {
        try (client; SocketChannel recorder = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            recorder.connect(UnixDomainSocketAddress.of(path));
            recorder.write(ByteBuffer.wrap(token));
            InputStream from = client.getInputStream();
            Thread up = new Thread(() -> {
                try {
                    byte[] bytes = new byte[65536];
                    for (int count; (count = from.read(bytes)) > 0; ) {
                        ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, count);
                        while (buffer.hasRemaining()) recorder.write(buffer);
                    }
                    recorder.shutdownOutput();
                } catch (IOException ended) { }
            });
            up.setDaemon(true);
            up.start();
            OutputStream to = client.getOutputStream();
            ByteBuffer buffer = ByteBuffer.allocate(65536);
            while (recorder.read(buffer) >= 0) {
                to.write(buffer.array(), 0, buffer.position());
                to.flush();
                buffer.clear();
            }
        } catch (IOException ended) { }
    }
}
"""

_SETTINGS = """\
<settings><localRepository>{work}/repository</localRepository>
<mirrors><mirror><id>envtool</id><url>http://127.0.0.1:PORT/</url><mirrorOf>*</mirrorOf></mirror></mirrors></settings>
"""

# Words: where the sources are, the directory of pom.xml below them, then Maven's. The token comes by a variable.
RECORD = (
    "set -u\n"
    + _FIND
    + f"""\
if [ -e {DISTRIBUTION} ]; then
    mkdir {WORK}/maven && tar -xzf {DISTRIBUTION} -C {WORK}/maven --strip-components=1 || exit 1
    PATH="{WORK}/maven/bin:$PATH"
fi
sources=$1; directory=$2; shift 2
mkdir {WORK}/project && cp -R "$sources/." {WORK}/project && cd "{WORK}/project/$directory" || exit 1
printf '%s' "$ENVTOOL_BRIDGE" > {WORK}/Bridge.java
token=$ENVTOOL_TOKEN
unset ENVTOOL_TOKEN ENVTOOL_BRIDGE
printf '%s\\n' "$token" | java -XX:TieredStopAtLevel=1 {WORK}/Bridge.java {SOCKET} {WORK}/port &
bridge=$!
waited=0
until [ -e {WORK}/port ]; do
    kill -0 $bridge 2>/dev/null || exit 1
    [ $waited -lt 600 ] || exit 1
    waited=$((waited + 1)); sleep 0.1
done
sed "s/PORT/$(cat {WORK}/port)/" > {WORK}/settings.xml <<'END'
{_SETTINGS.format(work=WORK)}END
mvn -B -ntp -s {WORK}/settings.xml -gs {WORK}/settings.xml "$@" >&2
status=$?
kill $bridge 2>/dev/null
exit $status
"""
)
