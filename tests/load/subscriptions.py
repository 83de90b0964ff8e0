#!/usr/bin/env python3
"""What a routing table costs a node at its start: fills a redis-server of its own with durable Sessions that subscribe, starts a node, and prints
the CPU seconds of the node and its memory for each subscription.

    tests/load/subscriptions.py target/release/mqttd 250000 4        so many Sessions, so many filters each; a further word: with wildcards
"""
import subprocess,socket,time,os,sys
binary=sys.argv[1]; clients=int(sys.argv[2]); each=int(sys.argv[3]); wild=len(sys.argv)>4
def free():
    s=socket.socket(); s.bind(('127.0.0.1',0)); p=s.getsockname()[1]; s.close(); return p
rp=free(); r=subprocess.Popen(['redis-server','--port',str(rp),'--save','','--bind','127.0.0.1'],stdout=subprocess.DEVNULL); time.sleep(.6)
def enc(*a):
    o=b'*%d\r\n'%len(a)
    for x in a:
        x=x if isinstance(x,bytes) else str(x).encode(); o+=b'$%d\r\n%s\r\n'%(len(x),x)
    return o
c=socket.create_connection(('127.0.0.1',rp))
def drain():
    c.sendall(enc('ECHO','ZZDONEZZ')); buf=b''
    while not buf.endswith(b'ZZDONEZZ\r\n'): buf=(buf+c.recv(1<<20))[-64:]
def stat(pid):
    f=open(f'/proc/{pid}/stat').read().rsplit(')',1)[1].split(); cpu=(int(f[11])+int(f[12]))/100
    rss=[int(l.split()[1]) for l in open(f'/proc/{pid}/status') if l.startswith(('VmRSS','VmHWM'))]
    return cpu,rss
def node():
    p=free(); a=free()
    b=subprocess.Popen([binary,'--listen',f'tcp://127.0.0.1:{p}','--store',f'redis://127.0.0.1:{rp}/','--node-id','x','--admin','off','--log','warn']);
    t=time.time()
    while time.time()-t<60:
        try: socket.create_connection(('127.0.0.1',p),1).close(); break
        except OSError: time.sleep(.05)
    t1=time.time()-t
    last=-1
    while time.time()-t<90:
        time.sleep(1); cpu,rss=stat(b.pid)
        if cpu-last<0.03: break
        last=cpu
    print(f'listens after {t1:.1f}s; cpu {cpu:.2f}s; rss {rss}KiB (HWM, RSS)'); b.kill(); b.wait(); return cpu,rss
try:
    e=node()
    batch=[]
    for i in range(clients):
        k=f'mqttd:{{routes}}:s:client-{i:07}'
        args=['HSET',k,'n','']
        for j in range(each):
            f=(f'site/{i%1000}/device/{i:07}/+/{j}' if wild else f'site/{i%1000}/device/{i:07}/{j}')
            args+=['\0'+f, bytes([1,1])]
        batch.append(enc(*args)); batch.append(enc('HSET','mqttd:{routes}:sessions',f'client-{i:07}',1700000000000000+i))
        if len(batch)>2000: c.sendall(b''.join(batch)); drain(); batch=[]
    c.sendall(b''.join(batch)); c.sendall(enc('SET','mqttd:{routes}:ver',1700000000000000)); drain()
    f=node()
    print(f'{clients*each} subscriptions: cpu {f[0]-e[0]:.2f} s, RSS {(f[1][1]-e[1][1])*1024/clients/each:.0f} B, peak {(f[1][0]-e[1][0])*1024/clients/each:.0f} B per subscription')
finally:
    r.kill(); r.wait()
